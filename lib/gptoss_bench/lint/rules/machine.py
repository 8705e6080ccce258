"""What makes a result untrustworthy by the word of its witnesses: one function a rule, as in `lint`."""

from typing import Any

import pandas as pd

from gptoss_bench.lint.rules.results import Rule, Summary
from gptoss_bench.runs import Finding
from gptoss_bench.stats import FIRST, allowance_text, measured_rows
from gptoss_bench.telemetry import PHASE_INFERENCE

THROTTLED_SHARE = 0.05
CACHED_SHARE = 0.05
STEAL_SHARE = 0.02
BUSY_SHARE = 0.90


def _disagreement(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """A time to the first token that the server does not confirm is the gravest of them."""
    apart = [row for row in summary.get("agreement", []) if row["agrees"] is False]
    if not apart:
        return None
    worst = [row for row in apart if row["quantity"] == FIRST] or apart
    shown = "; ".join(_row(row) for row in worst[:2])
    more = f"; {len(apart) - len(worst[:2])} rows more" if len(apart) > len(worst[:2]) else ""
    advice = "look at what lies between the two: a network, a proxy, a busy core, another client of the server"
    return Finding("server-and-client-disagree", "warning", f"{shown}{more}", advice)


def _row(row: dict[str, Any]) -> str:
    unit = f" {row['unit']}" if row["unit"] else ""
    client, server = f"{row['client']:.4g}{unit}", f"{allowance_text(row)}{unit}"
    return f"{row['quantity']}, {row['statistic']}: {client} by the client, {server} by the server"


def _others(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """The server did more than this run asked of it."""
    counts = (summary.get("server_metrics") or {}).get("counts", {})
    asked = len(measured_rows(requests))
    evidence = f"the server completed {counts.get('requests', 0):.0f} requests while this run sent it {asked}"
    finding = Finding("server-shared", "warning", evidence, "have it to yourself while you measure")
    return finding if counts.get("requests", 0) > asked else None


def _prefix_cache(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """By the server's own counters, whatever the prompts looked like."""
    counts = (summary.get("server_metrics") or {}).get("counts", {})
    if "prefix_cache_queries" in counts:
        hits, asked = counts.get("prefix_cache_hits", 0.0), counts["prefix_cache_queries"]
    else:
        hits = counts.get("prompt_tokens_cached", 0.0)
        asked = hits + counts.get("prompt_tokens", 0.0)
    if not asked or hits / asked <= CACHED_SHARE:
        return None
    evidence = f"the server took {hits / asked:.0%} of the prompt tokens from its cache"
    return Finding("prompts-from-cache", "note", evidence, "TTFT is that of cached prompts: send distinct ones")


def _throttling(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    shares = _gpu(summary).get("throttled_share") or {}
    found = {reason: share for reason, share in shares.items() if share > THROTTLED_SHARE}
    evidence = ", ".join(f"{reason} in {share:.0%} of the samples" for reason, share in found.items())
    advice = "cool it, or say at which power limit and clock it was measured"
    return Finding("gpu-throttled", "warning", f"the GPU was held back: {evidence}", advice) if found else None


def _other_processes(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    phase = _gpu(summary).get("by_phase", {}).get(PHASE_INFERENCE, {})
    count = phase.get("other_processes_max") or 0
    evidence = f"{count:.0f} processes that are not the engine's computed on the GPU"
    return Finding("gpu-shared", "warning", evidence, "end them: they take memory and time from it") if count else None


def _steal(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    share = _host(summary).get("steal_share") or 0.0
    evidence = f"the hypervisor gave {share:.1%} of this machine's CPU time to others"
    advice = "the times hold waits that are not the engine's: measure again, or elsewhere"
    return Finding("cpu-stolen", "warning", evidence, advice) if share > STEAL_SHARE else None


def _busy(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    share = _host(summary).get("cpu_share") or 0.0
    evidence = f"all cores of this machine were {share:.0%} busy"
    advice = "client and engine wait for cores, if both are here: what is slow may be the machine"
    return Finding("cpu-full", "note", evidence, advice) if share > BUSY_SHARE else None


def _no_server(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """Where there is nothing to hold the client against, that is worth a word."""
    words = (summary.get("server_metrics") or {}).get("words")
    evidence = f"the server told nothing of its own times: {words}"
    finding = Finding("no-server-metrics", "note", evidence, "the figures are the client's word alone")
    return finding if words and not summary.get("agreement") else None


def _no_machine(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """A sampler that died leaves a hole in the timeline."""
    words = (summary.get("telemetry") or {}).get("words")
    finding = Finding(
        "no-machine-telemetry", "note", f"GPU and host: {words}", "look at the machine before you quote this"
    )
    return finding if words else None


def _lost(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """A GPU that was there and then told nothing more."""
    gpu = _gpu(summary)
    words = gpu.get("words") if gpu.get("devices") else None
    return Finding("gpu-lost", "error", words, "look at the driver's log (dmesg), and run again") if words else None


def _gpu(summary: Summary) -> dict[str, Any]:
    """This machine's GPU, where the engine is on this machine."""
    seen = summary.get("telemetry") or {}
    return (seen.get("gpu") or {}) if seen.get("engine_here", True) else {}


def _host(summary: Summary) -> dict[str, Any]:
    phases: dict[str, dict[str, Any]] = ((summary.get("telemetry") or {}).get("host") or {}).get("by_phase", {})
    return phases.get(PHASE_INFERENCE, {})


MACHINE_RULES: tuple[Rule, ...] = (
    *(_lost, _disagreement, _others, _throttling, _other_processes, _steal),
    *(_prefix_cache, _busy, _no_server, _no_machine),
)
