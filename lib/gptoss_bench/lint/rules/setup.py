"""What makes a result untrustworthy by how it was made or what its names mean: one function a rule, as in `lint`.

These rules read the run's manifest too, which the caller puts into the summary under "manifest". Of another tool's
result both hold what its file tells.
"""

from collections.abc import Iterable, Mapping
from typing import Any

import pandas as pd

from gptoss_bench.lint.rules.results import Rule, Summary, made
from gptoss_bench.runs import Finding
from gptoss_bench.stats import known, measured_rows

COLD_SHARE = 0.05  # of a request's time, spent in loading the model
RAMP_SHARE = 0.05  # that the rate over the whole run may lie off the steady one
HIDDEN_GAP = 2.0  # times TTFT: what the rest of an answer may take beyond its median gaps
LONG_GAP = 5.0  # times the median gap, at p99
MONOTONIC = "CLOCK_MONOTONIC"
PUBLISHED_QUANTISATION = {"vllm-h100": "MXFP4", "ollama-a10": "MXFP4", "transformers-bf16": "BF16"}


def _role_chunk(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """A TTFT that ends at an empty first chunk leaves the true wait as a gap: TPOT then lies far above the median gap.

    This kit's own table of requests has the first event of any kind beside the first token, so it is not asked.
    """
    if requests["ttfc_s"].notna().any():
        return None
    ttft_s, gap_s, tpot_s = (summary[name]["p50"] for name in ("ttft_s", "itl_s", "tpot_s"))
    tokens, longest_s = summary["completion_tokens"]["mean"], summary["itl_s"]["p99"]
    if None in (ttft_s, gap_s, tpot_s, tokens, longest_s) or longest_s <= LONG_GAP * gap_s:
        return None
    hidden_s = (tpot_s - gap_s) * (tokens - 1)
    if hidden_s <= HIDDEN_GAP * ttft_s:
        return None
    evidence = f"TTFT is {ttft_s * 1e3:.3g} ms, and {hidden_s * 1e3:.3g} ms of each answer lie in single long gaps"
    advice = "the role chunk seems to count as a token: take TTFT from the first chunk that bears text"
    return Finding("role-chunk-counted", "error", evidence, advice)


def _ramp(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    total, steady = summary["output_tok_s_total"], summary["output_tok_s"]
    if total is None or (steady is not None and abs(total - steady) <= RAMP_SHARE * steady):
        return None
    beside = "no rate of a steady window is known" if steady is None else f"{steady:.1f} in the steady window"
    evidence = f"{total:.1f} tokens/s over the whole run, ramp and tail inside; {beside}"
    return Finding("ramp-and-tail-inside", "note", evidence, "quote the rate of a steady window, or send for longer")


def _percentile_rule(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    shown = [name for name in ("ttft_s", "itl_s", "tpot_s", "done_s") if summary[name]["p99"] is not None]
    if not shown or summary.get("percentile_rule"):
        return None
    evidence = f"no rule is named for the percentiles of {', '.join(shown)}"
    return Finding("percentile-rule-unnamed", "note", evidence, "name it: rules differ where there are few samples")


def _cold(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """The first wave loads the model. Ollama's load_s holds waiting in its queue too, and so may that of later ones."""
    rows = measured_rows(requests)
    shares = (rows["server_load_s"] / rows["server_total_s"].fillna(rows["done_s"])).astype("float64")
    slots = max(summary["concurrency_planned"] or 1, 1)
    first, later = known(shares[:slots]), known(shares[slots:])
    if not len(first) or first.mean() <= COLD_SHARE or (len(later) and later.mean() > first.mean() / 2):
        return None
    evidence = f"the model was being loaded for {first.mean():.0%} of the time of the first requests ({len(first)})"
    return Finding("cold-load-inside", "warning", evidence, "load it first, with a warm-up: this is no serving time")


def _offload(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    facts = made(summary, "endpoint").get("facts") or {}
    share, layers, whole = (facts.get(name) for name in ("vram_share", "gpu_layers", "layers"))
    words = []
    if share is not None and 0 < share < 1:
        words.append(f"{share:.0%} of the loaded model is in GPU memory")
    if layers is not None and whole is not None and 0 <= layers < whole:
        words.append(f"{layers} of {whole} layers are on the GPU")
    if facts.get("gpu_layers") is not None and facts.get("cpu_moe_layers"):
        words.append(f"the experts of {facts['cpu_moe_layers']} layers are on the CPU")
    advice = "the slower part decides the rate: use a GPU that holds the model, or say so beside each figure"
    return Finding("partial-offload", "warning", "; ".join(words), advice) if words else None


def _clock_step(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    steps = made(summary, "clock").get("steps") or 0
    evidence = f"the machine's wall clock was set {steps} times while it was measured"
    advice = "kernel stamps are of that clock: measure again where an interval lies across a step"
    return Finding("clock-step", "warning", evidence, advice) if steps else None


def _wall_clock(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    source = made(summary, "clock").get("source")
    if source is None or source == MONOTONIC:
        return None
    evidence = f"times are differences of the clock {source!r}, which can be set while one measures"
    return Finding("wall-clock-used", "warning", evidence, "take a monotonic clock, or watch that it is not set")


def _quantisation(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    scenario = str((summary.get("manifest") or {}).get("scenario"))
    claimed = PUBLISHED_QUANTISATION.get(scenario)
    served = made(summary, "endpoint").get("quantisation")
    if claimed is None or not served or claimed.lower() in str(served).lower():
        return None
    evidence = f"the published figures are of {claimed} weights, this server's are {served}"
    return Finding("quantisation-differs", "warning", evidence, "compare no rate and no memory with the published one")


def _engine_says(summary: Summary, requests: pd.DataFrame) -> Finding | None:
    """What was noted of the engine when it was ready, such as a version that this kit was not tried with."""
    notes = (made(summary, "endpoint").get("facts") or {}).get("notes") or []
    return Finding("engine-noted", "note", "; ".join(notes), "say so beside the figures") if notes else None


SETUP_RULES: tuple[Rule, ...] = (
    *(_role_chunk, _cold, _offload, _quantisation, _clock_step, _wall_clock),
    *(_ramp, _percentile_rule, _engine_says),
)


def differing_conditions(manifests: Iterable[tuple[str, Mapping[str, Any]]]) -> list[Finding]:
    """What differs between results that are set side by side, of (name, manifest): a finding for each condition.

    Engine version, quantisation, GPU and model each are one; what a result does not tell is not compared.
    """
    found = []
    reported = list(manifests)
    for rule, what, of in _CONDITIONS:
        values = {name: value for name, manifest in reported if (value := of(manifest))}
        if len(set(values.values())) > 1:
            evidence = f"{what}: " + "; ".join(f"{value} in {name}" for name, value in values.items())
            advice = (
                f"a difference between them may come from the {what}: make them with the same, or compare nothing else"
            )
            found.append(Finding(rule, "warning", evidence, advice))
    return found


def _engine(manifest: Mapping[str, Any]) -> str:
    endpoint = manifest.get("endpoint") or {}
    reported = (endpoint.get("engine"), endpoint.get("version"))
    return " ".join(str(part) for part in reported) if all(reported) else ""


def _gpu(manifest: Mapping[str, Any]) -> str:
    gpus = manifest.get("gpus")
    if gpus is None:
        return ""
    return ", ".join(str(gpu.get("name")) for gpu in gpus) or str((manifest.get("machine") or {}).get("cpu") or "")


def _endpoint(name: str) -> Any:
    return lambda manifest: str((manifest.get("endpoint") or {}).get(name) or "")


_CONDITIONS = (
    ("mixed-versions", "engine and version", _engine),
    ("mixed-quantisation", "quantisation", _endpoint("quantisation")),
    ("mixed-hardware", "hardware", _gpu),
    ("mixed-models", "model", _endpoint("model")),
)
