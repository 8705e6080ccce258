"""Draw the telemetry of a run: GPU and host by phase, and the timings of the client against those of the server."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.style import (
    AGREEMENT_MARKS,
    GUIDE,
    LINES,
    PHASE_COLOURS,
    RANGE_BAR,
    finish_figure,
    new_figure,
    set_log_scale,
)
from gptoss_bench.memory import GIB
from gptoss_bench.runs import GpuDevice, LoadSummary, Manifest, PhaseSpan, Telemetry
from gptoss_client import NS_PER_S

HOST_MEMORY = (("memory_used", "machine", "-"), ("engine_rss", "engine", "--"), ("client_rss", "client", ":"))
LATE_SHARE = 0.1  # of the time since the sample before
LEGEND: dict[str, Any] = {"fontsize": 8, "loc": "upper left", "ncols": 4}


def machine_timeline(tables: Mapping[str, pd.DataFrame], summary: LoadSummary, manifest: Manifest) -> Figure:
    """Draw memory, utilisation, power and CPU of the machine before load, after load and during inference.

    `tables` has the telemetry tables "gpu" and "host"; `summary` is that of the run. A machine without a GPU has no
    panel of it.
    """
    telemetry = summary.telemetry or Telemetry()
    gpu, host = tables["gpu"], tables["host"]
    start_ns = min([span.start_ns for span in telemetry.phases], default=0)
    figure, panels = new_figure(height=7.6 if len(gpu) else 4.2, rows=4 if len(gpu) else 2)
    if len(gpu):
        _draw_gpus(panels[:2], gpu, telemetry.gpu.devices, start_ns)
    _draw_host(panels[-2:], host, start_ns, manifest)
    for panel in panels:
        _mark_phases(panel, telemetry.phases, start_ns, named=panel is panels[0])
        panel.yaxis.label.set_size(9)
    figure.align_ylabels(panels)
    panels[-1].set(xlabel="seconds since the sampler started")
    cost = telemetry.cost.cores
    note = f"sampling took {cost:.1%} of a core" if cost is not None else telemetry.words or "nothing was sampled"
    subject = "The machine" if telemetry.engine_here else "The client's machine (the engine is on another)"
    panels[0].set_title(f"{subject} through the phases of the run ({note})", fontsize=12, pad=54)
    notes = ["" if len(gpu) else telemetry.gpu.words or "no GPU was sampled"]
    if left_out := int((~has_known_time(host)).sum()):
        notes.append(f"CPU: {left_out} of {len(host)} samples are left out, they were read too late for a rate")
    return finish_figure(figure, manifest, "; ".join(filter(None, notes)))


def has_known_time(host: pd.DataFrame) -> pd.Series:
    """Return for each sample of the host whether it and the one before were read within a tenth of their distance.

    Else the machine was too busy for the sampler, and the CPU seconds between the two belong to another time.
    """
    late = host["cost_s"] > LATE_SHARE * host["timestamp_ns"].diff() / NS_PER_S
    return ~(late | late.shift(fill_value=False))


def _draw_gpus(panels: Any, gpu: pd.DataFrame, devices: list[GpuDevice], start_ns: int) -> None:
    memory, busy = panels
    power = busy.twinx()
    for (index, rows), style in zip(gpu.groupby("gpu"), cycle(LINES), strict=False):
        at_s = (rows["timestamp_ns"] - start_ns) / NS_PER_S
        memory.plot(at_s, rows["memory_used_bytes"].astype("float64") / GIB, style, label=f"GPU {index}")
        busy.plot(at_s, rows["utilisation"], style, label=f"GPU {index}: utilisation")
        power.plot(at_s, rows["power_w"], ":", color=GUIDE)
        busy.plot([], [], ":", color=GUIDE, label=f"GPU {index}: power")
    for total_bytes in {device.memory_total_bytes for device in devices if device.memory_total_bytes is not None}:
        memory.axhline(total_bytes / GIB, linestyle="--", color=GUIDE, label="total")
    memory.set(ylabel="memory, GiB", ylim=(0, 1.6 * memory.get_ylim()[1]))
    busy.set(ylabel="utilisation", ylim=(0, 1.4))
    power.set(ylabel="W", ylim=(0, 1.35 * power.get_ylim()[1]))
    power.grid(visible=False)
    if gpu["power_w"].isna().all():
        power.set(yticks=[], ylabel="power: unknown")
    for panel in (memory, busy):
        panel.legend(**LEGEND)


def _draw_host(panels: Any, host: pd.DataFrame, start_ns: int, manifest: Manifest) -> None:
    cpu, memory = panels
    timed = has_known_time(host)
    at_s = (host["timestamp_ns"] - start_ns) / NS_PER_S
    cores = (manifest.machine.cores if manifest.machine else None) or 1
    lines = {
        "machine": (host["cpu_share"] * cores, "-"),
        "engine": (host["engine_cpu"], "--"),
        "client": (host["client_cpu"], ":"),
        "stolen": (host["steal_share"] * cores, "-."),
    }
    for name, (values, style) in lines.items():
        if values.notna().any():
            cpu.plot(at_s, values.where(timed), style, label=name)
    cpu.set(ylabel=f"CPU, of {cores} cores", ylim=(0, 1.7 * cores))
    for name, label, style in HOST_MEMORY:
        values = host[f"{name}_bytes"].astype("float64") / GIB
        if values.notna().any():
            memory.plot(at_s, values, style, label=label)
    memory.set(ylabel="memory, GiB", ylim=(0, 1.6 * memory.get_ylim()[1]))
    for panel in (cpu, memory):
        if panel.lines:
            panel.legend(**LEGEND)


def _mark_phases(panel: Axes, phases: list[PhaseSpan], start_ns: int, *, named: bool) -> None:
    for span in phases:
        left, right = ((end_ns - start_ns) / NS_PER_S for end_ns in (span.start_ns, span.end_ns))
        if colour := PHASE_COLOURS.get(span.phase):
            panel.axvspan(left, right, color=colour, alpha=0.16, linewidth=0)
        else:
            panel.axvline(left, color="0.8", linewidth=0.8)
    if named:
        look: dict[str, Any] = {"fontsize": 7.5, "rotation": 28, "ha": "left", "va": "bottom"}
        for at_ns, name in phase_names(phases):
            panel.text((at_ns - start_ns) / NS_PER_S, 1.02, name, transform=panel.get_xaxis_transform(), **look)


def phase_names(phases: list[PhaseSpan]) -> list[tuple[float, str]]:
    """Return the place (ns) and text of the phase names; phases too short for a text of their own share one.

    A short phase whose name was shown before gets no text.
    """
    if not phases:
        return []
    whole_ns = phases[-1].end_ns - phases[0].start_ns
    found: list[tuple[float, list[str]]] = []
    for at, span in enumerate(phases):
        short = span.end_ns - span.start_ns <= 0.05 * whole_ns
        if short and span.phase in [other.phase for other in phases[:at]]:
            continue
        middle_ns = (span.start_ns + span.end_ns) / 2
        if found and middle_ns - found[-1][0] < 0.03 * whole_ns:
            found[-1][1].append(span.phase)
        else:
            found.append((middle_ns, [span.phase]))
    return [(at_ns, " · ".join(names)) for at_ns, names in found]


def client_against_server(summary: LoadSummary, manifest: Manifest) -> Figure:
    """Draw the times that the client measured against those that the server reports.

    The rows are the agreement of the summary; its counts and p90 are left out. A bar is the server's time, as wide
    as its histogram bucket; a mark is the client's.
    """
    rows = [row for row in summary.agreement if row.unit == "s" and row.statistic != "p90"]
    figure, axes = new_figure(height=1.7 + 0.36 * max(len(rows), 1))
    if not rows:
        reason = (summary.server_metrics.words if summary.server_metrics else None) or "none with its responses"
        axes.text(0.5, 0.5, f"the server reported no times: {reason}", ha="center")
        axes.set(xticks=[], yticks=[])
    for at, row in enumerate(rows):
        low, high = row.server_low, row.server_high
        high = max(row.client, 2 * low) if high is None else high
        axes.barh(at, max(high - low, 0.01 * high), left=low, height=0.5, color=RANGE_BAR, edgecolor=GUIDE)
        shape, colour = AGREEMENT_MARKS[row.agrees]
        axes.errorbar(row.client, at, xerr=row.error, fmt=shape, color=colour, capsize=3, markersize=7)
    if rows:
        names = [f"{row.quantity}, {row.statistic}" for row in rows]
        axes.set(yticks=np.arange(len(rows)), yticklabels=names, xlabel="seconds", ylim=(len(rows) - 0.4, -0.6))
        ends = [end for row in rows for end in (row.client, row.server_low, row.server_high) if end]
        if max(ends) > 10 * min(ends):
            set_log_scale(axes, "x")
        else:
            axes.set(xlim=(0, 1.05 * max([*ends, *(row.client + row.error for row in rows)])))
    axes.set_title(
        "Client (mark, with the stated error) against server (bar)\n"
        "circle: agrees; cross: does not; diamond: cannot tell, or not the same requests",
        fontsize=11,
    )
    return finish_figure(figure, manifest)
