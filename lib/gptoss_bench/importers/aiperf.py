"""Read profile_export_aiperf.json (percentiles) and profile_export.jsonl (requests) of aiperf, tried with 0.13.0."""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, distribution, of_rows, reported_only
from gptoss_bench.runs import Clock, Distribution, EndpointRecord, Manifest, derive_tables

_TIMES = {
    "ttft_s": "time_to_first_token",
    "ttfa_s": "time_to_first_output_token",
    "tpot_s": "inter_token_latency",
    "itl_s": "inter_chunk_latency",
    "e2e_s": "request_latency",
    "done_s": "request_latency",
}
_SCALE = {"ms": 1e-3, "sec": 1.0, "s": 1.0, "us": 1e-6, "ns": 1e-9}
NOTES = (
    "TTFT has the connecting in it",
    "ITL is what it calls inter-chunk latency",
    "TPOT is what it calls inter-token latency, a request's mean",
)


def parse_aiperf(content: Any) -> ImportedResult | None:
    """Return the result of a parsed file of percentiles; None for another format."""
    if not isinstance(content, Mapping) or "aiperf_version" not in content:
        return None
    config = content.get("input_config") or {}
    phases = config.get("phases") or []
    measured = [phase for phase in phases if phase.get("kind") != "warmup"]
    concurrency = measured[0].get("concurrency") if measured else None
    completed = round(_value(content, "request_count") or 0)
    failed = round(_value(content, "error_request_count") or 0)
    tokens = _value(content, "total_output_tokens")
    summary = reported_only(
        concurrency,
        requests=completed + failed,
        completed=completed,
        failed=failed,
        failures={"unnamed": failed} if failed else {},
        wall_s=_value(content, "benchmark_duration"),
        request_s=_value(content, "request_throughput"),
        output_tok_s_total=_value(content, "output_token_throughput"),
        completion_tokens={
            "sum": None if tokens is None else round(tokens),
            "mean": _value(content, "output_sequence_length"),
            "min": None,
            "max": None,
        },
        percentile_rule="inclusive",  # numpy's default makes them
        warmup_requests=0 if phases and len(measured) == len(phases) else None,
        **{name: _distribution(content.get(its)) for name, its in _TIMES.items()},
    )
    models = (config.get("models") or {}).get("items") or [{}]
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(model=models[0].get("name")),
        parameters={"concurrency": concurrency},
    )
    return ImportedResult("aiperf", content["aiperf_version"], summary, derive_tables([])[0], manifest, NOTES)


def parse_aiperf_lines(lines: Sequence[Any]) -> ImportedResult | None:
    """Return the result of a file of requests, each line parsed; None for another format.

    The file does not report the planned concurrency, so there is no steady window.
    """
    if not lines or not all(isinstance(line, Mapping) and "request_start_ns" in _metadata(line) for line in lines):
        return None
    rows = sorted((_row(line) for line in lines), key=lambda row: row.sent_ns)
    summary, requests = of_rows(rows, concurrency=None, gaps_known=True)
    return ImportedResult("aiperf", None, summary, requests, Manifest(clock=Clock(source="CLOCK_MONOTONIC")), NOTES)


def _row(line: Mapping[str, Any]) -> ImportedRow:
    metadata, metrics = _metadata(line), line.get("metrics") or {}
    start_ns = metadata["request_start_ns"]
    phase = "warmup" if metadata.get("benchmark_phase") == "warmup" else "measure"
    if line.get("error"):
        return ImportedRow(start_ns, outcome="failed", failure="unnamed", error=str(line["error"]), phase=phase)
    tokens, prompt = (_plain(metrics, name) for name in ("output_sequence_length", "input_sequence_length"))
    gaps = metrics.get("inter_chunk_latency") or {"value": [], "unit": "ms"}
    return ImportedRow(
        sent_ns=start_ns,
        ttft_s=_seconds(metrics, "time_to_first_token"),
        ttfa_s=_seconds(metrics, "time_to_first_output_token"),
        e2e_s=_seconds(metrics, "request_latency"),
        prompt_tokens=prompt,
        completion_tokens=tokens,
        gaps_s=[gap * _SCALE[gaps["unit"]] for gap in gaps["value"]],
        outcome="cancelled" if metadata.get("was_cancelled") else "completed",
        phase=phase,
    )


def _metadata(line: Mapping[str, Any]) -> Mapping[str, Any]:
    found = line.get("metadata")
    return found if isinstance(found, Mapping) else {}


def _plain(metrics: Mapping[str, Any], name: str) -> int | None:
    return round(metrics[name]["value"]) if name in metrics else None


def _seconds(metrics: Mapping[str, Any], name: str) -> float | None:
    return metrics[name]["value"] * _SCALE[metrics[name]["unit"]] if name in metrics else None


def _value(content: Mapping[str, Any], name: str) -> float | None:
    return (content.get(name) or {}).get("avg")


def _distribution(reported: Mapping[str, Any] | None) -> Distribution:
    if not reported:
        return distribution(None, {})
    return distribution(reported.get("count"), reported, mean=reported.get("avg"), scale=_SCALE[reported["unit"]])
