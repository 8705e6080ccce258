"""Decide statements about software by what was read in its sources, version by version. No run has a part in that."""

import datetime
from abc import abstractmethod
from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field, Strict

from gptoss_bench.claims.conditions import basis_of, behaviour_word, plain_name, version_key
from gptoss_bench.claims.gate import refusals
from gptoss_bench.claims.model import Claim, Decider, Evidence, Text, Verdict, WriteUp, unknown_name
from gptoss_bench.claims.text_deciders import Reading
from gptoss_bench.claims.verdict_words import (
    CONFIRMED,
    CONTRADICTED,
    IMPRECISE,
    NO_BASIS,
    NOT_MEASURED,
    OUTDATED,
    SOURCES,
)
from gptoss_bench.memory import (
    TransformersSetup,
    architectures,
    parse_compute_capability,
    predict_mxfp4_decision,
    sink_backends,
    with_required_packages,
)
from gptoss_bench.runs import EndpointRecord, value_at
from gptoss_bench.validation import Mistake
from gptoss_client import UsageError

Capability = Annotated[str, Field(pattern=r"^[0-9]+\.[0-9]+$")]


@dataclass(frozen=True, slots=True)
class SurveyedVersion:
    """One version of a software: whether the claim holds there by the facts that were read, and these facts."""

    version: str
    date: datetime.date | None
    holds: bool
    found: str

    @property
    def dated(self) -> str:
        """Return the version with its date."""
        return f"{self.version}, {self.date}" if self.date else self.version


class Survey(Decider):
    """Decide by version: what held when the write-up was written, and what holds in the newest version."""

    software: Text

    @abstractmethod
    def surveyed(self) -> list[SurveyedVersion]:
        """Return the versions, oldest first."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the versions at the date of the write-up and today."""
        versions, written = self.surveyed(), evidence.write_up.source.written
        then, now = next((v for v in reversed(versions) if v.date and v.date <= written), versions[0]), versions[-1]
        first_other = next((v for v in versions[versions.index(then) :] if v.holds != then.holds), None)
        since = f" since {self.software} {first_other.dated}" if first_other else ""
        if then.holds:
            word, detail = (CONFIRMED, "") if now.holds else (OUTDATED, since)
        elif now.holds:
            word, detail = CONTRADICTED, f" at its date, true{since}"
        else:
            word, detail = CONTRADICTED, ""
        shown = list(dict.fromkeys([then, *([first_other] if first_other else []), now]))
        text = "; ".join(f"{self.software} {v.dated}: {v.found}" for v in shown)
        return claim.verdict(SOURCES, word, text, detail=detail, where=self.software)


class SinkSupport(Survey):
    """Decide by memory/attention_sinks.csv: which backends of a software take attention sinks by default."""

    capability: Capability
    """Compute capability of the GPU, such as 8.6."""
    backend: str = ""
    """Only this backend, "" for any."""
    others: bool = False
    """Any backend but `backend`."""
    expected: bool
    """Whether by the claim one of these takes sinks."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return an unknown software and an unknown backend."""
        rows = sink_backends()
        found = unknown_name("software", self.software, {row.stack for row in rows})
        if not found and self.backend:
            found = unknown_name("backend", self.backend, {r.backend for r in rows if r.stack == self.software})
        return found

    def surveyed(self) -> list[SurveyedVersion]:
        """Return one entry per version of the table."""
        capability = parse_compute_capability(self.capability)
        versions: dict[str, SurveyedVersion] = {}
        rows = [row for row in sink_backends() if row.stack == self.software]
        for version in dict.fromkeys(row.version for row in rows):
            of_version = [row for row in rows if row.version == version]
            asked = [row for row in of_version if not self.backend or (row.backend == self.backend) != self.others]
            takes = [row for row in asked if row.sinks == "yes" and row.runs_on(capability)]
            facts = [
                f"{row.backend}, {row.capabilities}: {row.sinks}{f' ({row.note})' if row.note else ''}"
                f" [{row.source}, read {row.read}]"
                for row in (takes or asked)
            ]
            dates = [row.dated for row in of_version if row.dated]
            versions[version] = SurveyedVersion(
                version=version,
                date=datetime.date.fromisoformat(dates[0]) if dates else None,
                holds=bool(takes) == self.expected,
                found="sinks with " + ", ".join(facts) if facts else "no such backend",
            )
        return list(versions.values())


class PackedWeights(Survey):
    """Decide by memory/transformers_mxfp4.csv whether transformers keeps gpt-oss packed on a GPU.

    The packages that a version requires are assumed to be installed.
    """

    software: Literal["transformers"] = "transformers"
    capability: Capability
    versions: Annotated[dict[str, datetime.date], Field(min_length=1)]
    """Release dates of the versions to ask about, oldest first."""
    outcome: Text
    """What transformers does by the claim, such as "stays MXFP4"."""
    read: datetime.date

    def surveyed(self) -> list[SurveyedVersion]:
        """Return one entry per version."""
        found = []
        for version, date in self.versions.items():
            setup = TransformersSetup(version, accelerate="1.0", capability=parse_compute_capability(self.capability))
            decision = predict_mxfp4_decision(with_required_packages(setup))
            text = f"{decision.outcome}: {decision.why} [{decision.rule.source}, read {self.read}]"
            found.append(SurveyedVersion(version, date, decision.outcome == self.outcome, text))
        return found

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return a version that transformers does not have."""
        try:
            self.surveyed()
        except UsageError as error:
            return [Mistake(("versions",), f"is not possible: {error}")]
        return []


class ResponseReading(Reading):
    """Which fields the responses of one version have, as read in its sources."""

    version: Text
    date: datetime.date | None = None
    """The day of its release."""
    has: Annotated[tuple[Text, ...], Strict(False)] = ()
    """Fields that it has."""
    lacks: Annotated[tuple[Text, ...], Strict(False)] = ()
    """Fields that were looked for and not found."""


class ResponseField(Survey):
    """Decide whether the responses of a software have a field."""

    field: Text
    entries: Annotated[tuple[ResponseReading, ...], Strict(False), Field(min_length=1)]

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the versions in which the field was not looked for."""
        return [
            Mistake(("entries", index), f"says nothing of {self.field!r}; add it to has or to lacks")
            for index, entry in enumerate(self.entries)
            if (self.field in entry.has) == (self.field in entry.lacks)
        ]

    def surveyed(self) -> list[SurveyedVersion]:
        """Return one entry per version."""
        ordered = sorted(self.entries, key=lambda entry: version_key(entry.version))
        return [SurveyedVersion(e.version, e.date, self.field in e.has, e.text) for e in ordered]


class ReportedBySources(Decider):
    """Compare what sources, or a server, report about a model with the published word."""

    engine: Text
    model: Text
    gpu: Text
    fact: Text
    """Name of the fact among those of the endpoint."""
    sources: Annotated[tuple[Reading, ...], Strict(False)] = ()
    value: str = ""
    """What the sources report."""

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return the name of an unknown fact."""
        return unknown_name("fact", self.fact, EndpointRecord.model_fields)

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the newest run of this model, else the sources, report the published word."""
        for run in evidence.newest_first():
            server = run.manifest.server
            basis, where = basis_of(run, self.gpu, self.model)
            real = (
                not run.stand_in and not run.random_weights and plain_name(self.model) in plain_name(str(server.model))
            )
            if run.used(self.engine) and real and not refusals(run, ""):
                reported = str(value_at(server, self.fact))
                word = behaviour_word(basis, holds=_same(reported, claim))
                return claim.verdict(basis, word, f"{self.engine} reports {reported}", where=where, run=run)
        if not self.sources:
            text = f"no run with {self.engine} and {self.model} among the evidence"
            return claim.verdict(NO_BASIS, NOT_MEASURED, text, needs=claim.needs)
        text = "; ".join([*(one.text for one in self.sources), "not re-measured"])
        word = CONFIRMED if _same(self.value, claim) else CONTRADICTED
        return claim.verdict(SOURCES, word, text, where=self.engine)


def _same(reported: str, claim: Claim) -> bool:
    return reported.lower() == str(claim.published.word).lower()


class InsertedToken(Decider):
    """Call a statement imprecise that names a token where the model has learned weights of another kind."""

    architecture: Text
    tensor: Text
    """The end of the names of these weights."""
    sources: Annotated[tuple[Reading, ...], Strict(False), Field(min_length=1)]

    def mistakes(self, write_up: WriteUp) -> list[Mistake]:
        """Return an unknown architecture."""
        return unknown_name("architecture", self.architecture, architectures())

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return "imprecise" with the number of learned weights, "confirmed in sources" where there are none."""
        layers = evidence.architectures[self.architecture].allocations("bf16")
        learned = [allocation for allocation in layers if allocation.name.endswith(self.tensor)]
        read = [one.text for one in self.sources]
        if not learned:
            text = "; ".join([f"{self.architecture} has no weights named {self.tensor}", *read])
            return claim.verdict(SOURCES, CONFIRMED, text)
        count = sum(allocation.parameters for allocation in learned)
        text = f"{self.architecture} has {count:,} weights named {self.tensor}, {learned[0].parameters} a layer"
        return claim.verdict(SOURCES, IMPRECISE, "; ".join([text, *read]), measured=float(count))
