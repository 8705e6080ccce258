"""Define claims, evidence and verdicts: a claim as published, a run as measured, and the verdict between them."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptoss_bench.memory import Architecture, Gpu
from gptoss_bench.stats import PrintedFigure
from gptoss_client import UsageError

# What a test of a claim may need, and the text of it.
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
    """A published figure: a `value`, a range `low` to `high`, a bound `below` or `at_least`, or a `word`.

    All are None where a claim has no figure. `step` is the last printed place of `value`. `version` is the engine's,
    "" where it was not published.
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


@dataclass(frozen=True, slots=True)
class Tolerance:
    """How far a measured number may be from a published `value`: relative to it, or in its unit."""

    relative: float = 0.0
    absolute: float = 0.0


@dataclass(frozen=True, slots=True)
class RunRecord:
    """A run as evidence: its manifest and its summary as on disk."""

    run_id: str
    scenario: str
    manifest: Mapping[str, Any]
    summary: Mapping[str, Any]

    @property
    def label(self) -> str | None:
        """Return the label that every result of this run carries, such as "TINY MODEL"."""
        return self.manifest.get("label")

    @property
    def engine(self) -> str:
        """Return the name of the engine, "" where the run used none."""
        return str((self.manifest.get("endpoint") or {}).get("engine") or "")

    @property
    def version(self) -> str | None:
        """Return the version of the engine, None where it is unknown."""
        return (self.manifest.get("endpoint") or {}).get("version")

    def used(self, engine: str) -> bool:
        """Return whether the run used this engine; upper and lower case are the same."""
        return self.engine.lower() == engine.lower()

    def probe(self, key: str) -> Any:
        """Return the result of a probe of the server, None where it was not probed."""
        return (self.summary.get("probes") or {}).get(key)

    def number(self, path: str) -> float | None:
        """Return the number at a dotted path of the summary, such as "ttft_s.p50", or None."""
        return number_at(self.summary, path)

    def interval(self, path: str) -> tuple[float, float] | None:
        """Return the interval at a dotted path of the summary, or None."""
        value = _at(self.summary, path)
        return (float(value[0]), float(value[1])) if isinstance(value, list | tuple) and len(value) == 2 else None


def number_at(content: Mapping[str, Any], path: str) -> float | None:
    """Return the number at a dotted path of a JSON object, or None."""
    value = _at(content, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def _at(content: Mapping[str, Any], path: str) -> Any:
    value: Any = content
    for key in path.split("."):
        value = value.get(key) if isinstance(value, Mapping) else None
    return value


@dataclass(frozen=True, slots=True)
class Verdict:
    """The verdict on one claim.

    `measured` and `interval` are in the published unit. `needs` is what a test would need, None where the claim was
    decided. `label` is the run's.
    """

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
        """Return the verdict, with what a test would need where it is not testable here."""
        return f"{self.verdict} (needs {self.needs})" if self.needs else self.verdict


@dataclass(frozen=True, slots=True)
class Claim:
    """One statement or figure of the write-up. `decider` is a key of DECIDERS, `arguments` are passed to it."""

    claim_id: str
    says: str
    section: str
    kind: str
    needs: str
    tested_by: str
    decider: str
    arguments: Mapping[str, Any] = field(default_factory=dict)
    published: Published = Published()
    tolerance: Tolerance = Tolerance()
    condition: str = ""

    @property
    def printed(self) -> PrintedFigure:
        """Return the published value with its rounding. Raises UsageError where the claim has no single value."""
        if self.published.value is None:
            raise UsageError(f"claims.yaml: {self.claim_id} has no published value, but a check uses it: add it")
        return PrintedFigure(self.published.value, self.published.step)

    def side_of_tolerance(self, measured: float) -> int:
        """Compare a number with the published figure and its tolerance: -1 below, 0 within, 1 above."""
        published = self.published
        if published.low is not None and published.high is not None:
            return (measured > published.high) - (measured < published.low)
        if published.below is not None:
            return int(measured >= published.below)
        if published.at_least is not None:
            return -int(measured < published.at_least)
        allowed = max(self.tolerance.absolute, self.tolerance.relative * abs(self.printed.value))
        difference = measured - self.printed.value
        return (difference > allowed) - (difference < -allowed)

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
        """Return the verdict on this claim: `word` is one of VERDICTS, `needs` a key of NEEDS or any other text."""
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
    """All that a decider can use: the claims by id, the runs, the architectures and the GPU catalogue."""

    claims: Mapping[str, Claim]
    runs: Sequence[RunRecord]
    architectures: Mapping[str, Architecture]
    gpus: Mapping[str, Gpu]

    def newest_first(self, scenario: str = "") -> list[RunRecord]:
        """Return the runs of a scenario, or all runs, the newest first: a run id begins with the time."""
        runs = [run for run in self.runs if scenario in ("", run.scenario)]
        return sorted(runs, key=lambda run: run.run_id, reverse=True)

    def figure_arguments(self, name: str) -> list[str]:
        """Return the argument of this name of every claim of kind figure that has it, in the order of the claims."""
        return [str(c.arguments[name]) for c in self.claims.values() if c.kind == "figure" and name in c.arguments]


def format_number(value: float) -> str:
    """Return a number with four significant digits, or with one decimal from 1,000 on."""
    return f"{value:,.1f}" if abs(value) >= 1000 else f"{value:.4g}"
