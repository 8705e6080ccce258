"""Read `vllm bench serve --save-result`, with or without --save-detailed, tried with vLLM 0.32.0."""

from typing import Annotated, Any

from pydantic import Field, JsonValue, create_model

from gptoss_bench.importers.imported_result import (
    ImportedResult,
    ImportedRow,
    ImportedSummary,
    distribution,
    of_rows,
    reported_only,
)
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Moment, Number, Seconds, ToolFile
from gptoss_bench.runs import Clock, EndpointRecord, Manifest, TokenCounts, derive_tables
from gptoss_bench.validation import Wanted
from gptoss_client import UsageError

TOOL = "vllm bench serve"
_MARKS = ("endpoint_type", "request_throughput", "total_output_tokens", "max_concurrency")
_TIMES = {"ttft_s": "ttft", "tpot_s": "tpot", "itl_s": "itl", "e2e_s": "e2el", "done_s": "e2el"}
_POINTS = {"mean": "mean", "p50": "median", "p90": "p90", "p99": "p99"}
_DETAILS = ("ttfts", "itls", "latencies", "start_times", "output_lens")
NOTES = (
    "TTFT is to the first chunk with a choice, the empty role chunk too",
    "ITL has the gaps before the first token and after the last one in it",
    "TPOT begins at its TTFT, so that the wait from the role chunk to the first token is in it",
)


class VllmBench(ToolFile):
    """Counts and rates of a load, and with --save-detailed a list entry for each request; times in seconds."""

    model_id: str | None = None
    max_concurrency: Count | None
    request_rate: Annotated[Number | str | None, Wanted("a number or a text")] = None
    duration: Seconds
    completed: Count
    failed: Count
    total_output_tokens: Annotated[int, Field(ge=0, le=10**15)]
    request_throughput: Number
    output_throughput: Number
    ttfts: list[Seconds] | None = None
    itls: list[list[Seconds]] | None = None
    latencies: list[Seconds] | None = None
    start_times: list[Moment] | None = None
    output_lens: list[Count] | None = None
    input_lens: list[Count] | None = None
    errors: list[str] | None = None


# It names a percentile like p99_ttft_ms, in milliseconds, and writes those that its --percentile-metrics asks for.
_POINT_FIELDS: dict[str, Any] = {
    f"{at}_{its}_ms": (MaybeNumber, None) for at in _POINTS.values() for its in _TIMES.values()
}
_VllmBench = create_model("_VllmBench", __base__=VllmBench, **_POINT_FIELDS)


def parse_vllm_bench(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of a parsed file; empty for another format. Raises UsageError for a wrong field."""
    if not isinstance(content, dict) or any(name not in content for name in _MARKS):
        return []
    found = _VllmBench.read(content, file=file, tool=TOOL)
    if all(getattr(found, name) is not None for name in _DETAILS):
        summary, requests = of_rows(_rows(found, file), concurrency=found.max_concurrency, gaps_known=True)
    else:
        summary, requests = _reported(found), derive_tables([])[0]
    summary.percentile_rule = "inclusive"  # that of np.percentile, which makes them
    summary.warmup_requests, summary.first_event_counts = None, "any chunk"
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(model=found.model_id),
        parameters={"request_rate": found.request_rate},
    )
    return [ImportedResult(TOOL, None, summary, requests, manifest, NOTES)]


def _reported(found: VllmBench) -> ImportedSummary:
    n, tokens = found.completed, found.total_output_tokens
    summary = reported_only(
        found.max_concurrency,
        requests=n + found.failed,
        completed=n,
        failed=found.failed,
        failures={"unnamed": found.failed} if found.failed else {},
        wall_s=found.duration,
        request_s=found.request_throughput,
        output_tok_s_total=found.output_throughput,
        completion_tokens=TokenCounts(sum=tokens, mean=tokens / n if n else None),
    )
    for name, its in _TIMES.items():
        points = {at: getattr(found, f"{word}_{its}_ms") for at, word in _POINTS.items()}
        count = max(tokens - n, 0) if name == "itl_s" else n
        setattr(summary, name, distribution(count, points, mean=points["mean"], scale=1e-3))
    return summary


def _rows(found: VllmBench, file: str) -> list[ImportedRow]:
    lists = {name: getattr(found, name) for name in (*_DETAILS, "input_lens", "errors")}
    count = len(lists["start_times"])
    lists["input_lens"] = lists["input_lens"] or [None] * count
    lists["errors"] = lists["errors"] or [""] * count
    for name, values in lists.items():
        if len(values) != count:
            raise UsageError(
                f"{file}: {name} has {len(values)} entries, start_times has {count}: the file is truncated"
            )
    return [
        ImportedRow(sent_ns=round(start * 1e9), outcome="failed", failure="unnamed", error=error)
        if error
        else ImportedRow(
            sent_ns=round(start * 1e9),
            ttft_s=ttft,
            e2e_s=latency,
            prompt_tokens=prompt,
            completion_tokens=tokens,
            gaps_s=gaps,
        )
        for ttft, gaps, latency, start, tokens, prompt, error in zip(*lists.values(), strict=True)
    ]
