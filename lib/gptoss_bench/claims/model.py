"""Define claims, evidence and verdicts: a claim as published, a run as measured, and the verdict between them."""

import datetime
from abc import ABC, abstractmethod
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from functools import cache
from math import inf, nextafter
from typing import Annotated, Any, Literal, Self, get_args, get_origin

from pydantic import BaseModel, ConfigDict, Field, SerializeAsAny, model_validator

from gptoss_bench.claims.verdict_words import WORDS_BY_BASIS
from gptoss_bench.memory import Architecture, Gpu
from gptoss_bench.runs import (
    RANDOM_LABEL,
    ChosenRun,
    Finding,
    LoadSummary,
    Manifest,
    Record,
    Run,
    Summary,
    no_gpt_oss_labels,
    number_at,
    unknown_parts,
    value_at,
)
from gptoss_bench.stats import CONSISTENCY_CHECKS, PrintedFigure
from gptoss_bench.validation import Mistake, OneOf, Wanted, choices_text
from gptoss_client import UsageError

# What a test of a claim may need, and the text of it.
NEEDS = {
    "none": "nothing but arithmetic",
    "any-server": "a server that answers",
    "vllm": "a vLLM server",
    "ollama": "Ollama with gpt-oss:20b",
    "a10": "an A10 with Ollama",
    "h100": "an H100 NVL with vLLM",
    "hardware": "the published hardware, engine and model",
    "script": "the published script, run as it is printed",
    "suites": "the benchmark suites and both models",
    "pictures": "the numbers inside the pictures",
    "azure": "the Azure VM itself",
}
UNITS = ("s", "GB", "tokens/s", "1/s", "tokens", "requests", "answers", "models", "prompt", "%")

Text = Annotated[str, Field(min_length=1)]
Number = Annotated[float, Field(allow_inf_nan=False)]


class ClaimsRecord(BaseModel):
    """A part of a claims file: no other keys than its fields, and values of exactly their types."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True, use_attribute_docstrings=True)


class Published(ClaimsRecord):
    """A published figure: a `value`, a range `low` to `high`, a bound `below` or `at_least`, or a `word`.

    All are None where a claim has no figure.
    """

    value: Number | None = None
    low: Number | None = None
    high: Number | None = None
    below: Number | None = None
    at_least: Number | None = None
    word: Text | None = None
    unit: Annotated[str, OneOf(UNITS)] = ""
    step: Annotated[Number, Field(ge=0)] = 0.0
    """The last printed place of `value`, 0 for an exact value."""
    version: str = ""
    """The version of the engine, "" where it was not published."""

    @model_validator(mode="after")
    def _one_figure(self) -> "Published":
        """Refuse a record that has a unit and no figure, or two figures."""
        low_to_high = None if self.low is None or self.high is None else self.low
        figures = (self.value, low_to_high, self.below, self.at_least, self.word)
        if self.model_fields_set and sum(figure is not None for figure in figures) != 1:
            raise ValueError("write one of value, low and high, below, at_least, word")
        return self

    @property
    def text(self) -> str:
        """Return the figure with its unit, "" where there is none."""
        if self.low is not None and self.high is not None:
            shown = f"{self.low:g}–{self.high:g}"
        elif self.below is not None:
            shown = f"< {self.below:g}"
        elif self.at_least is not None:
            shown = f"≥ {self.at_least:g}"
        else:
            shown = self.word or ("" if self.value is None else f"{self.value:g}")
        return f"{shown} {self.unit}".strip() if shown else ""

    def nearest(self, measured: float) -> float | None:
        """Return the published value, or the exceeded end of the range; None where the measured number equals it."""
        if self.low is not None and self.high is not None:
            inside = min(max(measured, self.low), self.high)
            return None if inside == measured else inside
        return None if self.value == measured else self.value


class Tolerance(ClaimsRecord):
    """How far a measured number may be from a published `value`: relative to it, or in its unit."""

    relative: Annotated[Number, Field(ge=0)] = 0.0
    absolute: Annotated[Number, Field(ge=0)] = 0.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as evidence: its manifest, its summary and its findings as on disk.

    `scenario` is the one that the run counts as. `findings` are None where the run was not linted, `run` is None where
    it is not on disk.
    """

    run_id: str
    scenario: str
    manifest: Manifest
    summary: Summary
    findings: Sequence[Finding] | None = None
    run: Run | None = None

    @classmethod
    def of(cls, chosen: ChosenRun) -> Self:
        """Return a chosen run as evidence."""
        run = chosen.run
        return cls(run.run_id, chosen.scenario, run.manifest, run.summary, run.findings, run)

    @property
    def label(self) -> str | None:
        """Return the labels that every result of this run carries, such as "TINY MODEL", joined; None without one."""
        return ", ".join(self.manifest.labels) or None

    @property
    def engine(self) -> str:
        """Return the name of the engine, "" where the run used none."""
        return self.manifest.server.engine or ""

    @property
    def version(self) -> str | None:
        """Return the version of the engine, None where it is unknown."""
        return self.manifest.server.version

    @property
    def gpus(self) -> str:
        """Return the names of the GPUs, "no GPU" without one."""
        return ", ".join(gpu.name for gpu in self.manifest.gpus or []) or "no GPU"

    @property
    def stand_in(self) -> str:
        """Return why this run measured a stand-in of gpt-oss, "" where it measured gpt-oss."""
        labels = [label for label in no_gpt_oss_labels(self.manifest.labels) if label != RANDOM_LABEL]
        return ", ".join([*labels, *unknown_parts(self.manifest)])

    @property
    def random_weights(self) -> bool:
        """Return whether the model had the true tensors with random values."""
        return RANDOM_LABEL in self.manifest.labels

    def used(self, engine: str) -> bool:
        """Return whether the run used this engine; upper and lower case are the same."""
        return self.engine.lower() == engine.lower()

    def probe(self, key: str) -> Any:
        """Return the result of a probe of the server, None where it was not probed."""
        return value_at(self.summary, f"probes.{key}")

    def number(self, path: str) -> float | None:
        """Return the number at a dotted path of the summary, such as "ttft_s.p50", or None."""
        return number_at(self.summary, path)

    def interval(self, path: str) -> tuple[float, float] | None:
        """Return the interval at a dotted path of the summary, or None."""
        value = value_at(self.summary, path)
        return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one claim, and the basis that it rests on.

    `where` names the hardware, the stand-in or the software of the basis, "" where there is none. `detail` completes
    the verdict, such as the condition that differs. `needs` is what a measurement would need, None where one was made
    or none is possible. `measured` and `interval` are in the published unit. `run_id` and `label` are those of the run
    that the verdict rests on; a verdict by sources, text or arithmetic has neither.
    """

    claim_id: str
    kind: str
    lines: str
    says: str
    published: str
    basis: str
    where: str
    verdict: str
    detail: str
    needs: str | None
    evidence: str
    measured: float | None
    interval: tuple[float, float] | None
    run_id: str | None
    label: str | None

    @property
    def number(self) -> str:
        """Return the number of the claim, such as "C07"."""
        return self.claim_id.partition("-")[0]

    @property
    def text(self) -> str:
        """Return the verdict with its detail and with what a measurement would need."""
        return f"{self.verdict}{self.detail}" + (f" (needs {self.needs})" if self.needs else "")

    @property
    def basis_text(self) -> str:
        """Return the basis with what it names."""
        return f"{self.basis} ({self.where})" if self.where else self.basis


class Decider(ClaimsRecord, ABC):
    """A way of deciding a claim: its fields are the arguments under `with` in the claims file.

    A decider names no claim and reads the published figure from the claim, so that another figure gives another
    verdict.
    """

    @abstractmethod
    def decide(self, claim: "Claim", evidence: "Evidence") -> "Verdict":
        """Return the verdict on a claim that names this decider."""

    def mistakes(self, write_up: "WriteUp") -> list[Mistake]:
        """Return what is wrong with the arguments beside the other claims and the tables of this kit."""
        return []


class Claim(ClaimsRecord):
    """One statement or figure of the write-up, and how it is decided."""

    claim_id: Annotated[
        str, Field(alias="id", pattern="^C[0-9]{2}-[a-z0-9-]+$", json_schema_extra={"examples": ["C07-short-name"]})
    ]
    kind: Literal["performance", "figure", "statement", "opinion"]
    """A performance figure is a time or a rate that the write-up measured."""
    section: Text
    lines: Annotated[
        str, Field(pattern=r"^[0-9]+(-[0-9]+)?(, [0-9]+(-[0-9]+)?)*$", json_schema_extra={"examples": ["126-130, 343"]})
    ]
    """The lines of the write-up that say it, such as "126-130"."""
    says: Text
    """The claim in one sentence; words in “” are quoted."""
    published: Published = Published()
    condition: str = ""
    """The conditions under which it was published, for the reader."""
    tolerance: Tolerance = Tolerance()
    needs: Annotated[str, OneOf(NEEDS)]
    """What a test needs; the texts are those of NEEDS."""
    tested_by: Text
    decider: str
    """A key of DECIDERS."""
    arguments: SerializeAsAny[Decider] = Field(alias="with")

    @property
    def name(self) -> str:
        """Return the id without its number, such as "latency-p50"."""
        return self.claim_id.partition("-")[2]

    @property
    def printed(self) -> PrintedFigure:
        """Return the published value with its rounding. Raises UsageError where the claim has no single value."""
        if self.published.value is None:
            raise UsageError(f"claim {self.claim_id}: published.value is missing, but its decider needs it; add it")
        return PrintedFigure(self.published.value, self.published.step)

    def side_of_tolerance(self, measured: float) -> int:
        """Compare a number with the published figure and its tolerance: -1 below, 0 within, 1 above."""
        least, most = self.accepted
        return (measured > most) - (measured < least)

    @property
    def accepted(self) -> tuple[float, float]:
        """Return the least and the most that count as the published figure."""
        published, tolerance = self.published, self.tolerance
        if published.below is not None:
            return -inf, nextafter(published.below, -inf)
        if published.at_least is not None:
            return published.at_least, inf
        if published.low is not None and published.high is not None:
            low, high = published.low, published.high
        else:
            low = high = self.printed.value
        allowed = [max(tolerance.absolute, tolerance.relative * abs(end)) for end in (low, high)]
        return low - allowed[0], high + allowed[1]

    def verdict(
        self,
        basis: str,
        word: str,
        evidence: str,
        *,
        detail: str = "",
        where: str = "",
        run: RunRecord | None = None,
        needs: str | None = None,
        measured: float | None = None,
        interval: tuple[float, float] | None = None,
    ) -> Verdict:
        """Return the verdict on this claim.

        `word` is one of `WORDS_BY_BASIS[basis]`, `needs` a key of NEEDS or any other text. Raises ValueError where the
        word does not belong to the basis, so that no measurement elsewhere is called a reproduction.
        """
        if word not in WORDS_BY_BASIS[basis]:
            raise ValueError(f"claim {self.claim_id}: {word!r} is no verdict for the basis {basis!r}")
        return Verdict(
            claim_id=self.claim_id,
            kind=self.kind,
            lines=self.lines,
            says=self.says,
            published=self.published.text,
            basis=basis,
            where=where,
            verdict=word,
            detail=detail,
            needs=NEEDS.get(needs, needs) if needs else None,
            evidence=evidence,
            measured=measured,
            interval=interval,
            run_id=run.run_id if run else None,
            label=run.label if run else None,
        )


class Derived(ClaimsRecord):
    """A number that the kit derives from published figures. It is no claim of the write-up, but checks may use it."""

    derived_id: Annotated[str, Field(alias="id", pattern="^C[0-9]{2}-[a-z0-9-]+$")]
    says: Text
    value: Number
    step: Annotated[Number, Field(ge=0)] = 0.0
    """The last known place of `value`, 0 for an exact value."""
    unit: Annotated[str, OneOf(UNITS)]
    check: Annotated[str, OneOf(CONSISTENCY_CHECKS)]
    """The check that derives it."""
    inputs: dict[str, str]
    """The id of the claim, or of this number, from which each argument of the check comes."""
    beside: str = ""
    """What else is known about it, with its source."""

    @property
    def printed(self) -> PrintedFigure:
        """Return the value with its rounding."""
        return PrintedFigure(self.value, self.step)


CommitHash = Annotated[str, Field(pattern="^[0-9a-f]{40}$")]


class Source(ClaimsRecord):
    """The write-up whose claims these are."""

    title: Text
    url: Annotated[str, Field(pattern="^https://")]
    author: Text
    """The handle of the author where it was published."""
    written: datetime.date
    commit: Annotated[CommitHash | None, Wanted("the 40 digits of a commit")] = None
    """A revision of the text at `url`; None if it has none, as a page of the web."""
    note: str = ""
    """How the text that was read differs from that revision."""
    read: datetime.date
    """The day of every version that the file calls the newest."""


class NamedRun(ClaimsRecord):
    """A run that is evidence because the claims file names it."""

    run: Text
    scenario: str = ""
    """The scenario that it counts as, "" for its own."""
    because: Text


class WithdrawnRun(ClaimsRecord):
    """A run that was published as evidence and no longer is."""

    run: Text
    because: Text


class WriteUp(ClaimsRecord):
    """All checkable claims of one write-up, the numbers derived from them, and the named evidence."""

    version: Literal[2] = Field(alias="schema")
    source: Source
    evidence: list[NamedRun] = Field(default_factory=list)
    withdrawn: list[WithdrawnRun] = Field(default_factory=list)
    derived: list[Derived] = Field(default_factory=list)
    claims: list[Claim]

    @property
    def by_id(self) -> dict[str, Claim]:
        """Return the claims by id."""
        return {claim.claim_id: claim for claim in self.claims}


@dataclass(frozen=True, slots=True)
class Evidence:
    """What a decider can use: the write-up, its claims by id, the runs, the architectures and the GPU catalogue."""

    write_up: WriteUp
    runs: Sequence[RunRecord]
    architectures: Mapping[str, Architecture]
    gpus: Mapping[str, Gpu]

    def printed(self, figure_id: str) -> PrintedFigure:
        """Return the published or derived figure of this id with its rounding."""
        derived = {one.derived_id: one.printed for one in self.write_up.derived}
        return derived[figure_id] if figure_id in derived else self.write_up.by_id[figure_id].printed

    def verdict_on(self, claim_id: str) -> Verdict:
        """Return the verdict on another claim."""
        claim = self.write_up.by_id[claim_id]
        return claim.arguments.decide(claim, self)

    def newest_first(self, scenario: str = "") -> list[RunRecord]:
        """Return the runs of a scenario, or all runs, the newest first: a run id begins with the time."""
        runs = [run for run in self.runs if scenario in ("", run.scenario)]
        return sorted(runs, key=lambda run: run.run_id, reverse=True)

    def figure_arguments(self, name: str) -> list[str]:
        """Return the argument of this name of every performance figure that has it, in the order of the claims."""
        return [
            str(getattr(claim.arguments, name))
            for claim in self.write_up.claims
            if claim.kind == "performance" and name in claim.arguments.model_fields_set
        ]


def format_number(value: float) -> str:
    """Return a number with four significant digits, or with one decimal from 1,000 on."""
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"


def unknown_name(field: str, value: str, known: Collection[str]) -> list[Mistake]:
    """Return the mistake that an argument of a decider is none of the known names; none where it is one."""
    return [] if value in known else [Mistake((field,), f"is {value!r}; {choices_text(value, known)}")]


def unknown_path(value: str, *field: str) -> list[Mistake]:
    """Return the mistake that an argument of a decider is no dotted path of a load's summary; none where it is one."""
    known = _summary_paths()
    if value in known:
        return []
    near = get_close_matches(value, known, n=1, cutoff=0.5)
    hint = f"did you mean {near[0]!r}?" if near else "write a path of the summary, such as ttft_s.p50"
    return [Mistake(field, f"is {value!r}; {hint}")]


@cache
def _summary_paths() -> tuple[str, ...]:
    return tuple(_paths(LoadSummary))


def _paths(model: type[Record], before: str = "") -> Iterator[str]:
    for name, field in model.model_fields.items():
        inner = [one for one in (field.annotation, *get_args(field.annotation)) if _is_record(one)]
        if inner and get_origin(field.annotation) not in (list, dict):
            yield from _paths(inner[0], f"{before}{name}.")
        else:
            yield f"{before}{name}"


def _is_record(kind: Any) -> bool:
    return isinstance(kind, type) and issubclass(kind, Record)
