"""A sampler's lines and the marks of the phases to three tables, and these to what a summary says of the machine.

Shares are of 1, CPU is in cores, memory in bytes. An unreported value is null, never 0 and never an estimate.
"""

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.runs import (
    PHASE_BEFORE,
    PHASE_INFERENCE,
    GpuDevice,
    GpuPhase,
    GpuTelemetry,
    HostPhase,
    HostTelemetry,
    PhaseSpan,
    SamplingCost,
    ServerPhase,
    ServerTelemetry,
    Telemetry,
)
from gptoss_bench.stats import non_null, percentile
from gptoss_client import NS_PER_S

GPU_COLUMNS = {
    "timestamp_ns": "int64",
    "phase": "str",
    "gpu": "int16",
    "memory_used_bytes": "Int64",
    "utilisation": "float64",
    "memory_utilisation": "float64",
    "power_w": "float64",
    "energy_j": "float64",
    "sm_clock_mhz": "Int32",
    "memory_clock_mhz": "Int32",
    "temperature_c": "Int16",
    "throttle": "str",
    "processes": "Int16",
    "other_processes": "Int16",
    "cost_s": "float64",
}
HOST_COLUMNS = {
    "timestamp_ns": "int64",
    "phase": "str",
    "cpu_share": "float64",
    "steal_share": "float64",
    "client_cpu": "float64",
    "engine_cpu": "float64",
    "sampler_cpu": "float64",
    "memory_used_bytes": "Int64",
    "memory_total_bytes": "Int64",
    "client_rss_bytes": "Int64",
    "engine_rss_bytes": "Int64",
    "engine_processes": "Int32",
    "cost_s": "float64",
}
SERVER = {
    "timestamp_ns": "int64",
    "phase": "str",
    "running": "float64",
    "waiting": "float64",
    "kv_cache_share": "float64",
    "generation_tokens": "float64",
    "cost_s": "float64",
}
TABLES = {"gpu": GPU_COLUMNS, "host": HOST_COLUMNS, "server": SERVER}
MEANS = {
    "gpu": ("utilisation", "memory_utilisation", "power_w", "sm_clock_mhz", "temperature_c"),
    "host": ("cpu_share", "steal_share", "client_cpu", "engine_cpu"),
    "server": ("running", "waiting", "kv_cache_share"),
}
MOST = {
    "gpu": ("memory_used_bytes", "other_processes"),
    "host": ("memory_used_bytes", "client_rss_bytes", "engine_rss_bytes"),
    "server": ("running", "waiting", "kv_cache_share"),
}

Marks = Sequence[tuple[str, int]]  # a phase and when it began (ns), in order
Tables = dict[str, pd.DataFrame]


def read_sample_lines(lines: Iterable[str], marks: Marks) -> tuple[Tables, dict[str, Any]]:
    """The tables "gpu", "host" and "server", and the line of devices; a line that was cut off is left out."""
    rows: dict[str, list[dict[str, Any]]] = {"devices": [], **{name: [] for name in TABLES}}
    for line in lines:
        try:
            row = json.loads(line)
            rows[row.pop("of")].append(row)
        except (ValueError, KeyError, TypeError, AttributeError):
            continue  # the sampler was killed in the middle of it
    devices = rows.pop("devices")
    rows["host"] = _rates(rows["host"])
    tables = {name: _table(rows[name], columns, marks) for name, columns in TABLES.items()}
    return tables, devices[0] if devices else {"devices": [], "words": "the sampler did not start"}


def _rates(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Counters of CPU seconds to what was used since the sample before, in cores; the first sample has none."""
    found = []
    for before, now in zip([None, *rows], rows, strict=False):
        row = {name: now.get(name) for name in HOST_COLUMNS if name in now}
        if before is not None:
            length_s = (now["timestamp_ns"] - before["timestamp_ns"]) / NS_PER_S
            total_s = now["cpu_total_s"] - before["cpu_total_s"]
            if total_s > 0:
                for share, counter in (("cpu_share", "cpu_busy_s"), ("steal_share", "cpu_steal_s")):
                    # Linux takes idle time back now and then, by a hundredth of a second.
                    row[share] = min(max((now[counter] - before[counter]) / total_s, 0.0), 1.0)
            for name in ("client", "engine", "sampler"):
                used = _difference(before.get(f"{name}_cpu_s"), now.get(f"{name}_cpu_s"))
                same = before.get(f"{name}_processes") == now.get(f"{name}_processes")
                row[f"{name}_cpu"] = used / length_s if used is not None and same and length_s > 0 else None
        found.append(row)
    return found


def _difference(before: float | None, now: float | None) -> float | None:
    return None if before is None or now is None or now < before else now - before


def _table(rows: list[dict[str, Any]], columns: Mapping[str, str], marks: Marks) -> pd.DataFrame:
    frame = pd.DataFrame(rows, columns=list(columns)).sort_values("timestamp_ns", kind="stable", ignore_index=True)
    names = np.array([PHASE_BEFORE, *(name for name, _ in marks)], dtype=object)
    began = np.array([start_ns for _, start_ns in marks], dtype="int64")
    frame["phase"] = names[np.searchsorted(began, frame["timestamp_ns"].to_numpy("int64"), side="right")]
    return frame.astype(dict(columns))


def spans(marks: Marks, end_ns: int) -> list[PhaseSpan]:
    """Return the phases; the last one ends at `end_ns`."""
    ends = [*(start_ns for _, start_ns in marks[1:]), end_ns]
    return [
        PhaseSpan(phase=name, start_ns=start_ns, end_ns=end) for (name, start_ns), end in zip(marks, ends, strict=True)
    ]


def describe_samples(tables: Tables, devices: Mapping[str, Any], marks: Marks, end_ns: int) -> Telemetry:
    """Return what a summary keeps: phases, GPU, host and server by phase, energy, and what sampling cost."""
    phases = spans(marks, end_ns)
    measured = [(span.start_ns, span.end_ns) for span in phases if span.phase == PHASE_INFERENCE]
    during = tables["gpu"][tables["gpu"]["phase"] == PHASE_INFERENCE]
    gpu = _by_phase(_over_gpus(tables["gpu"]), "gpu")
    host, server = _by_phase(tables["host"], "host"), _by_phase(tables["server"], "server")
    slowest_s = {f"{name}_s": percentile(table["cost_s"], 99).value for name, table in tables.items()}
    return Telemetry(
        words=None,
        engine_here=False,
        phases=phases,
        gpu=GpuTelemetry(
            words=devices.get("words") or _lost(tables["gpu"]),
            devices=[GpuDevice.model_validate(device) for device in devices.get("devices", [])],
            by_phase={phase: GpuPhase(**values) for phase, values in gpu.items()},
            throttled_share=_throttled(during["throttle"]),
        ),
        host=HostTelemetry(by_phase={phase: HostPhase(**values) for phase, values in host.items()}),
        server=ServerTelemetry(by_phase={phase: ServerPhase(**values) for phase, values in server.items()}),
        energy_j=energy_j(tables["gpu"], *measured[-1]) if measured else None,
        cost=SamplingCost(cores=_mean(tables["host"]["sampler_cpu"]), **slowest_s),
    )


def describe_again(tables: Tables, kept: Telemetry) -> Telemetry:
    """Return what these tables of a run give for the phases and devices of its summary."""
    marks = [(span.phase, span.start_ns) for span in kept.phases]
    devices = {"words": kept.gpu.words, "devices": [device.model_dump() for device in kept.gpu.devices]}
    found = describe_samples(tables, devices, marks, kept.phases[-1].end_ns if kept.phases else 0)
    found.words, found.engine_here = kept.words, kept.engine_here
    if kept.energy_j is None:  # of a server elsewhere
        found.energy_j = None
    return found


def _over_gpus(gpu: pd.DataFrame) -> pd.DataFrame:
    """One row a moment: memory and power of all GPUs together, of the rest the mean."""
    if gpu.empty:
        return gpu
    sums = {
        name: lambda values: values.sum(min_count=1) for name in ("memory_used_bytes", "power_w", "other_processes")
    }
    means = dict.fromkeys(("utilisation", "memory_utilisation", "sm_clock_mhz", "temperature_c"), "mean")
    grouped = gpu.groupby("timestamp_ns", sort=True)
    return grouped.agg({"phase": "first", **sums, **means}).reset_index()


def _by_phase(table: pd.DataFrame, name: str) -> dict[str, dict[str, Any]]:
    found: dict[str, dict[str, Any]] = {}
    for phase, rows in table.groupby("phase", sort=False):
        found[str(phase)] = {
            "samples": len(rows),
            **{column: _mean(rows[column]) for column in MEANS[name]},
            **{f"{column}_max": _most(rows[column]) for column in MOST[name]},
        }
    return found


def energy_j(gpu: pd.DataFrame, start_ns: int, end_ns: int) -> float | None:
    """Joules of all GPUs between two moments, from their own counters: read between samples, on a straight line.

    None where a GPU has no counter, where it went backwards, and where no sample lies on both sides.
    """
    total = 0.0
    for _, rows in gpu.groupby("gpu"):
        counted = rows.dropna(subset=["energy_j"])
        timestamps, joules = counted["timestamp_ns"].to_numpy("int64"), counted["energy_j"].to_numpy("float64")
        if (
            len(timestamps) < 2
            or not timestamps[0] <= start_ns < end_ns <= timestamps[-1]
            or (np.diff(joules) < 0).any()
        ):
            return None
        first, last = np.interp([start_ns - timestamps[0], end_ns - timestamps[0]], timestamps - timestamps[0], joules)
        total += float(last - first)
    return total if len(gpu) else None


def _lost(gpu: pd.DataFrame) -> str | None:
    """Return the message about a GPU that stopped reporting its memory: NVML calls it lost."""
    there = gpu["memory_used_bytes"].notna()
    if not there.any() or there.iloc[-1]:
        return None
    after_s = (gpu["timestamp_ns"].iloc[int(np.flatnonzero(there)[-1])] - gpu["timestamp_ns"].iloc[0]) / NS_PER_S
    return f"the GPU stopped reporting after {after_s:.1f} s of sampling: it was lost, or its driver was unloaded"


def _throttled(reasons: pd.Series) -> dict[str, float] | None:
    """For each reason the share of samples that had it; None where no GPU tells."""
    reported = reasons.dropna()
    if reported.empty:
        return None
    found = reported[reported != ""].str.split("+").explode().value_counts()
    return {str(reason): int(count) / len(reported) for reason, count in found.items()}


def _mean(values: pd.Series) -> float | None:
    there = non_null(values)
    return float(there.mean()) if len(there) else None


def _most(values: pd.Series) -> float | None:
    there = non_null(values)
    return float(there.max()) if len(there) else None
