"""The witnesses' figures: the machine through the phases of a run, and client against server."""

from collections.abc import Mapping
from itertools import cycle
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from gptoss_bench.figures.load import plain_log_scale
from gptoss_bench.figures.style import finished, new_figure
from gptoss_bench.telemetry import PHASE_AFTER, PHASE_BEFORE, PHASE_INFERENCE

GIB = 2**30
NS = 1e9
SHADES = {PHASE_BEFORE: "0.55", PHASE_AFTER: "tab:blue", PHASE_INFERENCE: "tab:orange"}  # the write-up's three
MARKS = {True: ("o", "tab:green"), False: ("X", "tab:red"), None: ("D", "tab:gray")}
MEMORY = (("memory_used", "machine", "-"), ("engine_rss", "engine", "--"), ("client_rss", "client", ":"))
STYLES = ("-", "--", "-.", ":")
LEGEND: dict[str, Any] = {"fontsize": 8, "loc": "upper left", "ncols": 4}


def machine_timeline(
    tables: Mapping[str, pd.DataFrame], summary: Mapping[str, Any], manifest: Mapping[str, Any]
) -> Figure:
    """What did the GPU and the machine do before the model was loaded, after that, and during inference?

    `tables` has "gpu" and "host" (`samples.TABLES`); `summary` is the run's.
    """
    seen = summary["telemetry"]
    gpu, host = tables["gpu"], tables["host"]
    start_ns = min([span["start_ns"] for span in seen["phases"]], default=0)
    heights = 7.6 if len(gpu) else 5.0
    figure, panels = new_figure(height=heights, rows=4 if len(gpu) else 3)
    if len(gpu):
        _gpu_panels(panels[:2], gpu, seen["gpu"]["devices"], start_ns)
        above = panels[2:]
    else:
        panels[0].text(
            0.5, 0.35, seen["gpu"]["words"] or "no GPU was sampled", ha="center", transform=panels[0].transAxes
        )
        panels[0].set(yticks=[], ylabel="GPU")
        above = panels[1:]
    _host_panels(above, host, start_ns, manifest)
    for panel in panels:
        _shade(panel, seen["phases"], start_ns, named=panel is panels[0])
        panel.yaxis.label.set_size(9)
    figure.align_ylabels(panels)
    panels[-1].set(xlabel="seconds since the sampler started")
    cost = seen["cost"]["cores"]
    note = f"sampling took {cost:.1%} of a core" if cost is not None else str(seen["words"] or "nothing was sampled")
    whose = "The machine" if seen["engine_here"] else "The client's machine (the engine is on another)"
    panels[0].set_title(f"{whose} through the phases of the run ({note})", fontsize=12, pad=54)
    return finished(figure, manifest)


def _gpu_panels(panels: Any, gpu: pd.DataFrame, devices: list[dict[str, Any]], start_ns: int) -> None:
    memory, busy = panels
    power = busy.twinx()
    for (index, rows), style in zip(gpu.groupby("gpu"), cycle(STYLES), strict=False):
        at_s = (rows["timestamp_ns"] - start_ns) / NS
        memory.plot(at_s, rows["memory_used_bytes"].astype("float64") / GIB, style, label=f"GPU {index}")
        busy.plot(at_s, rows["utilisation"], style, label=f"GPU {index}: utilisation")
        power.plot(at_s, rows["power_w"], ":", color="0.25")
        busy.plot([], [], ":", color="0.25", label=f"GPU {index}: power")
    for total in {device["memory_total_bytes"] for device in devices} - {None}:
        memory.axhline(total / GIB, linestyle="--", color="0.4", label="what it has")
    memory.set(ylabel="memory, GiB", ylim=(0, 1.35 * memory.get_ylim()[1]))
    busy.set(ylabel="utilisation", ylim=(0, 1.4))
    power.set(ylabel="W", ylim=(0, 1.35 * power.get_ylim()[1]))
    power.grid(visible=False)
    if gpu["power_w"].isna().all():
        power.set(yticks=[], ylabel="power: not told")
    for panel in (memory, busy):
        panel.legend(**LEGEND)


def _host_panels(panels: Any, host: pd.DataFrame, start_ns: int, manifest: Mapping[str, Any]) -> None:
    cpu, memory = panels
    at_s = (host["timestamp_ns"] - start_ns) / NS
    cores = manifest.get("machine", {}).get("cores") or 1
    lines = {
        "machine": (host["cpu_share"] * cores, "-"),
        "engine": (host["engine_cpu"], "--"),
        "client": (host["client_cpu"], ":"),
        "stolen": (host["steal_share"] * cores, "-."),
    }
    for name, (values, style) in lines.items():
        if values.notna().any():
            cpu.plot(at_s, values, style, label=name)
    cpu.set(ylabel=f"CPU, of {cores} cores", ylim=(0, 1.35 * cores))
    for name, its, style in MEMORY:
        values = host[f"{name}_bytes"].astype("float64") / GIB
        if values.notna().any():
            memory.plot(at_s, values, style, label=its)
    memory.set(ylabel="memory, GiB", ylim=(0, 1.35 * memory.get_ylim()[1]))
    for panel in (cpu, memory):
        if panel.lines:
            panel.legend(**LEGEND)


def _shade(panel: Axes, phases: list[dict[str, Any]], start_ns: int, *, named: bool) -> None:
    for span in phases:
        left, right = ((span[end] - start_ns) / NS for end in ("start_ns", "end_ns"))
        if colour := SHADES.get(span["phase"]):
            panel.axvspan(left, right, color=colour, alpha=0.16, linewidth=0)
        else:
            panel.axvline(left, color="0.8", linewidth=0.8)
    if named:
        look: dict[str, Any] = {"fontsize": 7.5, "rotation": 28, "ha": "left", "va": "bottom"}
        for at_ns, words in phase_names(phases):
            panel.text((at_ns - start_ns) / NS, 1.02, words, transform=panel.get_xaxis_transform(), **look)


def phase_names(phases: list[dict[str, Any]]) -> list[tuple[float, str]]:
    """Where the name of each phase stands (ns) and what it is; those of phases too short to stand apart share a place.

    A phase that is short and was named before has no name again.
    """
    if not phases:
        return []
    whole_ns = phases[-1]["end_ns"] - phases[0]["start_ns"]
    found: list[tuple[float, list[str]]] = []
    for at, span in enumerate(phases):
        short = span["end_ns"] - span["start_ns"] <= 0.05 * whole_ns
        if short and span["phase"] in [other["phase"] for other in phases[:at]]:
            continue
        middle_ns = (span["start_ns"] + span["end_ns"]) / 2
        if found and middle_ns - found[-1][0] < 0.03 * whole_ns:
            found[-1][1].append(span["phase"])
        else:
            found.append((middle_ns, [span["phase"]]))
    return [(at_ns, " · ".join(words)) for at_ns, words in found]


def client_against_server(summary: Mapping[str, Any], manifest: Mapping[str, Any]) -> Figure:
    """Do both witnesses of a run's "agreement" tell the same times? Its counts are not drawn.

    The bar is what the server says, which a histogram does to a bucket; the mark is the client.
    """
    rows = [row for row in summary["agreement"] if row["unit"] == "s" and row["statistic"] != "p90"]
    figure, axes = new_figure(height=1.7 + 0.36 * max(len(rows), 1))
    if not rows:
        words = (summary.get("server_metrics") or {}).get("words")
        axes.text(0.5, 0.5, f"the server told no times: {words or 'none with its responses'}", ha="center")
        axes.set(xticks=[], yticks=[])
    for at, row in enumerate(rows):
        low, high = row["server_low"], row["server_high"]
        high = max(row["client"], 2 * low) if high is None else high
        axes.barh(at, max(high - low, 0.01 * high), left=low, height=0.5, color="0.75", edgecolor="0.4")
        shape, colour = MARKS[row["agrees"]]
        axes.errorbar(row["client"], at, xerr=row["error"], fmt=shape, color=colour, capsize=3, markersize=7)
    if rows:
        names = [f"{row['quantity']}, {row['statistic']}" for row in rows]
        axes.set(yticks=np.arange(len(rows)), yticklabels=names, xlabel="seconds", ylim=(len(rows) - 0.4, -0.6))
        ends = [end for row in rows for end in (row["client"], row["server_low"], row["server_high"]) if end]
        if max(ends) > 10 * min(ends):
            plain_log_scale(axes, "x")
        else:
            axes.set(xlim=(0, 1.05 * max([*ends, *(row["client"] + row["error"] for row in rows)])))
    axes.set_title(
        "Client (mark, with the stated error) against server (bar)\n"
        "circle: agrees; cross: does not; diamond: not the same requests",
        fontsize=11,
    )
    return finished(figure, manifest)
