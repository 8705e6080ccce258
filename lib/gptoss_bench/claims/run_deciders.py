"""Decide statements by how a server behaved in a run, or by a survey of versions.

The behaviour of a real server can decide a statement whatever model it serves; the verdict then has the run's label.
"""

import datetime
from collections.abc import Mapping
from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.conditions import plain_name, version_key
from gptoss_bench.claims.figure_deciders import client_error_text
from gptoss_bench.claims.model import (
    Claim,
    ClaimsRecord,
    Decider,
    Evidence,
    Text,
    Verdict,
    format_number,
    unknown_name,
    unknown_path,
)
from gptoss_bench.claims.verdict_words import NOT_TESTABLE, OUTDATED, REFUTED, REPRODUCED
from gptoss_bench.runs import EndpointRecord, ServerProbes, value_at
from gptoss_bench.validation import Mistake, Wanted

Answer = Annotated[bool | int | str, Wanted("a text, a whole number, or true or false")]
_RANKS = (NOT_TESTABLE, REPRODUCED, REFUTED)


class Formula(Decider):
    """Compare the median of a formula with the measured median of the same requests.

    One real server refutes the formula: there it is outside the tolerance of all of the measured interval. Runs of a
    real model are reported before runs of a tiny one.
    """

    measured: Text
    """Dotted path of the measured median in the summary."""
    estimated: Text
    """Dotted path of the median by the formula."""
    requests: Annotated[int, Field(ge=0)]
    """The least number of requests that a run needs."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return the paths that no summary has."""
        return [*unknown_path(self.measured, "measured"), *unknown_path(self.estimated, "estimated")]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the run that contradicts the formula most clearly."""
        found = []
        for run in evidence.runs:
            actual, estimate = run.number(self.measured), run.number(self.estimated)
            n = run.number(f"{self.measured.partition('.')[0]}.n")
            if actual and estimate is not None and (n or 0) >= self.requests:
                interval = run.interval(f"{self.measured}_interval")
                sides = {_side(estimate, end, claim.tolerance.relative) for end in interval or (actual,)}
                word = NOT_TESTABLE if len(sides) > 1 else REPRODUCED if 0 in sides else REFUTED
                found.append((_RANKS.index(word), run.label is None, run.run_id, run, actual, estimate, interval))
        if not found:
            text = f"no run with {self.requests} streamed requests or more"
            return claim.verdict(NOT_TESTABLE, text, needs=claim.needs)
        rank, _, _, run, actual, estimate, interval = max(found, key=lambda entry: entry[:3])
        ratio = format_number(estimate / actual)
        medians = f"measured {format_number(actual)} s, formula {format_number(estimate)} s ({ratio} times)"
        text = f"same requests, medians: {medians}"
        others = [
            f"{format_number(estimate / actual)} times in {one.run_id}"
            for _, _, _, one, actual, estimate, _ in found
            if one is not run
        ]
        if others:
            text += f"; other runs: {', '.join(others)}"
        text = "; ".join([text, *client_error_text(run)])
        needs = "more requests: the measured interval crosses the edge of the tolerance" if rank == 0 else None
        return claim.verdict(_RANKS[rank], text, run=run, needs=needs, measured=actual, interval=interval)


def _side(estimate: float, actual: float, tolerance: float) -> int:
    difference = estimate / actual - 1 if actual > 0 else float("inf")
    return (difference > tolerance) - (difference < -tolerance)


class SurveyedVersion(ClaimsRecord):
    """Whether the claim holds in one version of a software, and how that was found out."""

    version: Text
    holds: bool
    found: Text
    date: datetime.date | None = None
    """The day of its release, or of the survey."""

    @property
    def dated(self) -> str:
        """Return the date in brackets, "" where there is none."""
        return f" ({self.date})" if self.date else ""


class VersionSurvey(Decider):
    """Decide by version: the claim holds now, held once (outdated), or never did (refuted).

    The deciding version is that of a run of `software`, else the newest surveyed one.
    """

    software: Text
    entries: Annotated[tuple[SurveyedVersion, ...], Strict(False), Field(min_length=1)]
    response_key: str = ""
    """The claim is that a response has this key, so the response of a run overrules the survey."""

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the deciding version."""
        ordered = sorted(self.entries, key=lambda entry: version_key(entry.version))
        run = next((run for run in evidence.newest_first() if run.used(self.software) and run.version), None)
        now = ordered[-1]
        if run and (reached := [e for e in ordered if version_key(e.version) <= version_key(run.version or "")]):
            now = reached[-1]
        else:
            run = None
        holds, words = now.holds, f"{now.version}{now.dated}: {now.found}"
        if run and self.response_key and (keys := run.probe("response_keys")):
            holds = self.response_key in keys
            words = f"{run.version} answered with the keys {', '.join(keys)}"
        held = [entry for entry in ordered if entry.holds and version_key(entry.version) < version_key(now.version)]
        if holds or not held:
            return claim.verdict(REPRODUCED if holds else REFUTED, f"{self.software} {words}", run=run)
        first = next(entry for entry in ordered if version_key(entry.version) > version_key(held[-1].version))
        then = f"true of {self.software} {held[-1].version}{held[-1].dated}; no longer true since {first.version}"
        still = "" if first is now and run is None else f"; the same in {run.version if run else now.version}"
        return claim.verdict(OUTDATED, f"{then}{first.dated}: {first.found}{still}", run=run)


class EarlierAnswer(ClaimsRecord):
    """An answer of a server to a probe that was made without a run."""

    version: Text
    value: Answer
    found: Text


class Probe(Decider):
    """Decide by the answer of a server to a probe."""

    key: Text
    """Name of the probe."""
    holds: Annotated[tuple[Answer, ...], Strict(False), Field(min_length=1)]
    """Answers with which the claim holds."""
    engine: str = ""
    """Only this engine decides, "" for any."""
    asked: str = ""
    """A probe that must be true for the answer to count."""
    address: str = ""
    """Beginning of the server's URL."""
    record: EarlierAnswer | None = None
    """An earlier answer, for the case that no run decides."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return the names of unknown probes."""
        return [
            *unknown_name("key", self.key, ServerProbes.model_fields),
            *unknown_name("asked", self.asked, ["", *ServerProbes.model_fields]),
        ]

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return the verdict by the newest answer that contradicts the claim, else by the newest."""
        seen = [
            run
            for run in evidence.newest_first()
            if run.probe(self.key) is not None and (not self.asked or run.probe(self.asked))
        ]
        seen = [run for run in seen if (run.manifest.server.url or "").startswith(self.address)]
        decisive = [run for run in seen if not self.engine or run.used(self.engine)]
        others = "".join(
            f"; {run.engine} answered {run.probe(self.key)} (run {run.run_id})" for run in seen if run not in decisive
        )
        if decisive:
            run = min(
                decisive, key=lambda run: run.probe(self.key) in self.holds
            )  # a run that contradicts the claim goes first
            word = REPRODUCED if run.probe(self.key) in self.holds else REFUTED
            return claim.verdict(word, f"{run.engine} answered {run.probe(self.key)}{others}", run=run)
        if self.record:
            word = REPRODUCED if self.record.value in self.holds else REFUTED
            return claim.verdict(
                word, f"{self.engine} {self.record.version} answered {self.record.value}: {self.record.found}{others}"
            )
        return claim.verdict(NOT_TESTABLE, f"no run probed a server for this{others}", needs=claim.needs)


class ServerReports(Decider):
    """Compare a fact that a server reports about its model with the published word."""

    engine: Text
    model: Text
    fact: Text
    """Name of the fact among those of the endpoint."""

    def mistakes(self, claims: Mapping[str, Claim]) -> list[Mistake]:
        """Return the name of an unknown fact."""
        return unknown_name("fact", self.fact, EndpointRecord.model_fields)

    def decide(self, claim: Claim, evidence: Evidence) -> Verdict:
        """Return whether the newest run of this model reports the published word."""
        for run in evidence.newest_first():
            server = run.manifest.server
            if run.used(self.engine) and run.label is None and plain_name(self.model) in plain_name(str(server.model)):
                same = str(value_at(server, self.fact)).lower() == str(claim.published.word).lower()
                return claim.verdict(
                    REPRODUCED if same else REFUTED, f"{self.engine} reports {value_at(server, self.fact)}", run=run
                )
        return claim.verdict(
            NOT_TESTABLE, f"no run with {self.engine} and {self.model} among the evidence", needs=claim.needs
        )
