"""Read `vllm bench serve --save-result`, with or without --save-detailed, tried with vLLM 0.32.0."""

from collections.abc import Mapping, Sequence
from typing import Any

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, distribution, of_rows, reported_only
from gptoss_bench.runs import Clock, EndpointRecord, Manifest, derive_tables

_MARKS = ("endpoint_type", "request_throughput", "total_output_tokens", "max_concurrency")
_TIMES = {"ttft_s": "ttft", "tpot_s": "tpot", "itl_s": "itl", "e2e_s": "e2el", "done_s": "e2el"}
_DETAILS = ("ttfts", "itls", "latencies", "start_times", "output_lens")
NOTES = (
    "TTFT is to the first chunk with a choice, the empty role chunk too",
    "ITL has the gaps before the first token and after the last one in it",
    "TPOT begins at its TTFT, so that the wait from the role chunk to the first token is in it",
)


def parse_vllm_bench(content: Any) -> ImportedResult | None:
    """Return the result of a parsed file; None for another format."""
    if not isinstance(content, Mapping) or any(name not in content for name in _MARKS):
        return None
    concurrency = content["max_concurrency"]
    counts = {
        "requests": content["completed"] + content["failed"],
        "completed": content["completed"],
        "failed": content["failed"],
        "failures": {"unnamed": content["failed"]} if content["failed"] else {},
    }
    if all(name in content for name in _DETAILS):
        summary, requests = of_rows(_rows(content), concurrency=concurrency, gaps_known=True)
    else:
        summary, requests = reported_only(concurrency, **counts, **_reported(content)), derive_tables([])[0]
    # np.percentile makes them, whose rule is this kit's inclusive one
    summary.percentile_rule = "inclusive"
    summary.warmup_requests, summary.first_event_counts = None, "any chunk"
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(model=content.get("model_id")),
        parameters={"request_rate": content.get("request_rate")},
    )
    return ImportedResult("vllm bench serve", None, summary, requests, manifest, NOTES)


def _reported(content: Mapping[str, Any]) -> dict[str, Any]:
    n, tokens = content["completed"], content["total_output_tokens"]
    return {
        "wall_s": content["duration"],
        "request_s": content["request_throughput"],
        "output_tok_s_total": content["output_throughput"],
        "completion_tokens": {"sum": tokens, "mean": tokens / n if n else None, "min": None, "max": None},
        **{
            name: distribution(
                max(tokens - n, 0) if name == "itl_s" else n,
                {
                    **{at: content.get(f"{at}_{its}_ms") for at in ("p90", "p99")},
                    "p50": content.get(f"median_{its}_ms"),
                },
                mean=content.get(f"mean_{its}_ms"),
                scale=1e-3,
            )
            for name, its in _TIMES.items()
        },
    }


def _rows(content: Mapping[str, Any]) -> list[ImportedRow]:
    lists: list[Sequence[Any]] = [content[name] for name in _DETAILS]
    inputs = content.get("input_lens") or [None] * len(lists[0])
    errors = content.get("errors") or [""] * len(lists[0])
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
        for ttft, gaps, latency, start, tokens, prompt, error in zip(*lists, inputs, errors, strict=True)
    ]
