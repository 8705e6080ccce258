"""Join runs of one load on the same hardware, made by anybody: how many, on how many machines, and how they vary."""

from collections.abc import Iterable
from dataclasses import dataclass
from statistics import fmean

from gptoss_bench.runs import LoadSummary, Run
from gptoss_bench.stats import MIN_RUNS, interval_over_runs

LOAD = ("concurrency", "requests", "max_tokens", "rate")  # parameters that runs have in common to be joined


@dataclass(frozen=True, slots=True)
class HardwareRow:
    """Runs of one load on one kind of hardware.

    `rate` is the output tokens per second: the mean over the machines, with its 95 % interval over machines (Student's
    t) or the reason why there is none.
    """

    hardware: str
    labels: str
    load: str
    runs: int
    machines: int
    rate: str

    @property
    def counts(self) -> str:
        """Such as "4 runs on 3 machines"; machines that did not say which they are count as one."""
        return f"{self.runs} run{'s' * (self.runs != 1)} on {self.machines} machine{'s' * (self.machines != 1)}"


def runs_by_hardware(runs: Iterable[Run]) -> list[HardwareRow]:
    """Return a row for each hardware, release of an engine, label and load of which there is a complete run."""
    groups: dict[tuple[str, ...], list[Run]] = {}
    for run in runs:
        if isinstance(run.summary, LoadSummary) and run.manifest.status == "complete":
            groups.setdefault(_key(run), []).append(run)
    return [_row(key, found) for key, found in sorted(groups.items())]


def _key(run: Run) -> tuple[str, ...]:
    manifest = run.manifest
    hardware = ", ".join(gpu.name for gpu in manifest.gpus or []) or "no GPU"
    load = [f"{name} {manifest.parameters[name]}" for name in LOAD if manifest.parameters.get(name) is not None]
    server = manifest.server
    return hardware, ", ".join(manifest.labels), f"{server.release}, {server.model}: {', '.join(load)}"


def _row(key: tuple[str, ...], runs: list[Run]) -> HardwareRow:
    by_machine: dict[str | None, list[float]] = {}
    for run in runs:
        machine = run.manifest.machine.id if run.manifest.machine else None
        rates = by_machine.setdefault(machine, [])
        if isinstance(run.summary, LoadSummary) and run.summary.output_tok_s_total is not None:
            rates.append(run.summary.output_tok_s_total)
    values = [fmean(rates) for rates in by_machine.values() if rates]
    hardware, labels, load = key
    return HardwareRow(hardware, labels, load, len(runs), len(by_machine), _rate_text(values))


def _rate_text(values: list[float]) -> str:
    """Return the mean of one rate per machine, with its interval or the reason why there is none."""
    if not values:
        return "not known"
    mean, interval = f"{fmean(values):,.0f}", interval_over_runs(values)
    if interval.ends is not None:
        return f"{mean} [{interval.ends[0]:,.0f}, {interval.ends[1]:,.0f}] tokens/s over {len(values)} machines"
    return f"{mean} tokens/s, no interval: it needs {MIN_RUNS} machines"
