"""Read the JSON report of guidellm (`--output kind=json`), tried with 0.8.1."""

import json
from collections.abc import Mapping
from typing import Any

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, of_rows
from gptoss_bench.runs import Clock, EndpointRecord, Manifest

NOTES = (
    "ITL, as it calls a request's mean, keeps no gap, so none is shown here",
    "TPOT is computed from its timestamps: what it names 'time per output token' includes the TTFT",
)


def parse_guidellm(content: Any) -> list[ImportedResult]:
    """Return one result per benchmark of a parsed report; empty for another format."""
    if not isinstance(content, Mapping) or "guidellm_version" not in (content.get("metadata") or {}):
        return []
    backend = content["config"]["spec"]["backend"]
    return [_benchmark(one, content["metadata"]["guidellm_version"], backend) for one in content["benchmarks"]]


def _benchmark(one: Mapping[str, Any], version: str, backend: Mapping[str, Any]) -> ImportedResult:
    streams = one["config"]["strategy"].get("streams")
    by_state, prompts = one["requests"], dict[str, int]()
    rows = [
        row
        for state in ("successful", "errored", "incomplete")
        for reported in by_state.get(state) or []
        if (row := _row(reported, state, prompts)) is not None
    ]
    rows.sort(key=lambda row: row.sent_ns)
    summary, requests = of_rows(rows, concurrency=streams, gaps_known=False)
    warmup = (one["config"].get("warmup") or {}).get("value")
    summary.warmup_requests = None if warmup else 0
    manifest = Manifest(
        clock=Clock(source="wall"),
        endpoint=EndpointRecord(url=backend.get("target"), model=backend.get("model")),
        parameters={"concurrency": streams},
    )
    return ImportedResult("guidellm", version, summary, requests, manifest, NOTES)


def _row(reported: Mapping[str, Any], state: str, prompts: dict[str, int]) -> ImportedRow | None:
    timings = reported["info"]["timings"]
    start, first, last = (timings.get(at) for at in ("request_start", "first_token_iteration", "last_token_iteration"))
    if start is None:
        return None
    answer = timings.get("first_output_token_iteration")
    outcome = {"successful": "completed", "errored": "failed"}.get(state, "cancelled")
    failed = outcome == "failed"
    return ImportedRow(
        sent_ns=round(start * 1e9),
        ttft_s=None if first is None else first - start,
        ttfa_s=None if answer is None else answer - start,
        e2e_s=None if last is None or state != "successful" else last - start,
        prompt_tokens=reported.get("prompt_tokens"),
        completion_tokens=reported.get("output_tokens"),
        prompt_id=_prompt_id(reported.get("request_args"), prompts),
        outcome=outcome,
        failure="unnamed" if failed else None,
        error=str(reported["info"].get("error")) if failed else None,
    )


def _prompt_id(arguments: str | None, prompts: dict[str, int]) -> int | None:
    """Return the same number for the same messages."""
    try:
        messages = json.dumps(json.loads(arguments or "")["body"]["messages"])
    except (ValueError, KeyError, TypeError):
        return None
    return prompts.setdefault(messages, len(prompts))
