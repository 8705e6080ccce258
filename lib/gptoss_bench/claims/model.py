"""What verdicts are made of and what they are: a claim as published, the runs as measured, the verdict between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptoss_bench.memory import Architecture, Gpu
from gptoss_bench.stats import PrintedFigure
from gptoss_client import UsageError

REPRODUCED, REFUTED, OUTDATED = "reproduced", "refuted", "outdated"
FASTER, SLOWER = "faster now", "slower now"
NOT_COMPARABLE, NOT_TESTABLE, OPINION = "not comparable", "not testable here", "opinion"
DECIDED = (REPRODUCED, REFUTED, FASTER, SLOWER, OUTDATED)
VERDICTS = (*DECIDED, NOT_COMPARABLE, NOT_TESTABLE, OPINION)

# What a claim's `needs` may be, and the words for it.
NEEDS = {
    "none": "nothing but arithmetic",
    "any-server": "a server that answers",
    "vllm": "a vLLM server",
    "ollama": "Ollama with gpt-oss:20b",
    "a10": "an A10 with Ollama",
    "h100": "an H100 with vLLM",
    "suites": "the benchmark suites and both models",
    "pictures": "the numbers inside the pictures",
    "azure": "the Azure VM itself",
}


@dataclass(frozen=True, slots=True)
class Published:
    """What was printed: a `value`, a range `low` to `high`, `below` or `at_least` a bound, or a `word`.

    `step` is the last printed place of `value`; None of all that where a claim has no figure. `version` is that of the
    engine, where it was told.
    """

    value: float | None = None
    low: float | None = None
    high: float | None = None
    below: float | None = None
    at_least: float | None = None
    word: str | None = None
    unit: str = ""
    step: float = 0.0
    version: str = ""

    @property
    def text(self) -> str:
        """As a reader would write it; empty where there is no figure."""
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
        """The published value, or the end of the range that was overstepped; None where there is nothing to be off."""
        if self.low is not None and self.high is not None:
            inside = min(max(measured, self.low), self.high)
            return None if inside == measured else inside
        return None if self.value == measured else self.value


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a measured number may be from a published `value`: a share of it, or an amount in its unit."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as evidence: its manifest and its summary, as they are on disk."""

    run_id: str
    scenario: str
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def label(self) -> str | None:
        """What everything from this run must carry, such as "TINY MODEL"."""
        return self.manifest.get("label")

    @property
    def engine(self) -> str:
        """The name of the server; empty where the run asked none."""
        return str((self.manifest.get("endpoint") or {}).get("engine") or "")

    @property
    def version(self) -> str | None:
        """The version of the server, where it said one."""
        return (self.manifest.get("endpoint") or {}).get("version")

    def is_of(self, engine: str) -> bool:
        """Whether the server was of that name, however it is spelt."""
        return self.engine.lower() == engine.lower()

    def probe(self, key: str) -> Any:
        """What the server answered to one of the scenario's questions; None where it was not asked."""
        return (self.summary.get("probes") or {}).get(key)

    def number(self, path: str) -> float | None:
        """The number at a dotted path of the summary, such as "ttft_s.p50"; None where there is none."""
        return number_at(self.summary, path)

    def span(self, path: str) -> tuple[float, float] | None:
        """The interval at a dotted path; None where there is none."""
        value = _at(self.summary, path)
        return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def number_at(content: Mapping[str, Any], path: str) -> float | None:
    """The number at a dotted path of a JSON object; None where there is none."""
    value = _at(content, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _at(content: Mapping[str, Any], path: str) -> Any:
    value: Any = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of one claim. `measured` and `interval` are in the published unit; `label` is the run's."""

    claim_id: str
    verdict: str
    needs: str | None
    evidence: str
    run_id: str | None
    measured: float | None
    published: str
    interval: tuple[float, float] | None
    says: str
    kind: str
    label: str | None

    @property
    def text(self) -> str:
        """The verdict in words, with what is missing where it is not testable here."""
        return f"{self.verdict} (needs {self.needs})" if self.needs else self.verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """One thing that the write-up says or implies. `judge` is a name of judges.JUDGES, `arguments` go to it."""

    claim_id: str
    says: str
    section: str
    kind: str
    needs: str
    tested_by: str
    judge: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    published: Published = Published()
    tolerance: Tolerance = Tolerance()
    condition: str = ""

    @property
    def printed(self) -> PrintedFigure:
        """The published value with its rounding. Raises UsageError where the claim has no single value."""
        if self.published.value is None:
            raise UsageError(f"claims.yaml: {self.claim_id} has no published value, and one is asked of it; add it")
        return PrintedFigure(self.published.value, self.published.step)

    def off(self, measured: float) -> int:
        """On which side of the published figure and its tolerance a number lies: -1 below, 0 within, 1 above."""
        said = self.published
        if said.low is not None and said.high is not None:
            return (measured > said.high) - (measured < said.low)
        if said.below is not None:
            return int(measured >= said.below)
        if said.at_least is not None:
            return -int(measured < said.at_least)
        allowed = max(self.tolerance.absolute, self.tolerance.relative * abs(self.printed.value))
        apart = measured - self.printed.value
        return (apart > allowed) - (apart < -allowed)

    def verdict(
        self,
        word: str,
        evidence: str,
        *,
        run: RunRecord | None = None,
        needs: str | None = None,
        measured: float | None = None,
        interval: tuple[float, float] | None = None,
    ) -> Verdict:
        """The verdict on this claim, in the words of `VERDICTS`; `needs` is a key of `NEEDS`, or in words."""
        return Verdict(
            claim_id=self.claim_id,
            verdict=word,
            needs=NEEDS.get(needs, needs) if needs else None,
            evidence=evidence,
            run_id=run.run_id if run else None,
            measured=measured,
            published=self.published.text,
            interval=interval,
            says=self.says,
            kind=self.kind,
            label=run.label if run else None,
        )


@dataclass(frozen=True, slots=True)
class Evidence:
    """All that a judge may look at: the claims by id, the runs, and the two tables of the kit."""

    claims: Mapping[str, Claim]
    runs: Sequence[RunRecord]
    architectures: Mapping[str, Architecture]
    gpus: Mapping[str, Gpu]

    def of(self, scenario: str) -> list[RunRecord]:
        """The runs of one scenario."""
        return [run for run in self.runs if run.scenario == scenario]

    def newest_first(self) -> list[RunRecord]:
        """All runs; their ids begin with the time."""
        return sorted(self.runs, key=lambda run: run.run_id, reverse=True)

    def figure_arguments(self, name: str) -> list[str]:
        """One argument of every measured figure that has it, in the order of the claims."""
        return [str(c.arguments[name]) for c in self.claims.values() if c.kind == "figure" and name in c.arguments]


def format_number(value: float) -> str:
    """Four significant digits, or one decimal from a thousand on."""
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
