"""Join runs of one load on the same hardware, made by anybody: how many, on how many machines, and how they vary."""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from functools import partial
from statistics import fmean

from gptoss_bench.runs import REMOTE_LABEL, LoadSummary, Run
from gptoss_bench.stats import interval_over_runs

LOAD = {  # parameters that runs have in common to be joined, and how they are shown
    "requests": "{} requests",
    "concurrency": "{} at a time",
    "rate": "{} a second",
    "max_tokens": "at most {} tokens",
    "temperature": "temperature {}",
}


@dataclass(frozen=True, slots=True)
class HardwareRow:
    """Runs of one load on one kind of hardware.

    `rate` is the output tokens per second: the mean over the machines, with its 95 % interval over machines (Student's
    t) if there are enough. `ttft` and `latency` are the medians of a run, their mean over the machines.
    """

    hardware: str
    labels: str
    load: str
    run_ids: Sequence[str]
    machines: int
    rate: str
    ttft: str
    latency: str

    @property
    def runs(self) -> int:
        """The number of runs."""
        return len(self.run_ids)

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
    given = manifest.parameters
    left_out = "concurrency" if given.get("rate") is not None else ""  # an open loop has no slots
    words = [
        shown.format(value)
        for name, shown in LOAD.items()
        if (value := given.get(name)) is not None and name != left_out
    ]
    if REMOTE_LABEL in manifest.labels:  # its hardware is unknown: two servers are two things that were measured
        words.append(f"at {manifest.server.url}")
    words += ["search for the capacity"] if run.load_summary.capacity else []
    words += [f"prompts: {run.load_summary.prompts}"] if run.load_summary.prompts else []
    server = manifest.server
    return hardware, ", ".join(manifest.labels), f"{server.release}, {server.model}: {', '.join(words)}"


def _row(key: tuple[str, ...], runs: list[Run]) -> HardwareRow:
    by_machine: dict[str | None, list[LoadSummary]] = {}
    for run in runs:
        machine = run.manifest.machine.id if run.manifest.machine else None
        by_machine.setdefault(machine, []).append(run.load_summary)
    means = partial(_means, list(by_machine.values()))
    hardware, labels, load = key
    return HardwareRow(
        hardware,
        labels,
        load,
        [run.run_id for run in runs],
        len(by_machine),
        _rate_text(means(lambda load: load.output_tok_s_total)),
        _time_text(means(lambda load: load.ttft_s.p50)),
        _time_text(means(lambda load: load.done_s.p50)),
    )


def _means(machines: list[list[LoadSummary]], number: Callable[[LoadSummary], float | None]) -> list[float]:
    """Return the mean of a number over the runs of each machine, without machines on which it is unknown."""
    known = [[value for load in loads if (value := number(load)) is not None] for loads in machines]
    return [fmean(values) for values in known if values]


def _time_text(values: list[float]) -> str:
    return f"{fmean(values):.3f} s" if values else "not known"


def _rate_text(values: list[float]) -> str:
    """Return the mean of one rate per machine, with its interval if there are enough machines."""
    if not values:
        return "not known"
    mean, interval = f"{fmean(values):,.0f}", interval_over_runs(values)
    if interval.ends is not None:
        return f"{mean} [{interval.ends[0]:,.0f}, {interval.ends[1]:,.0f}] tokens/s over {len(values)} machines"
    return f"{mean} tokens/s"
