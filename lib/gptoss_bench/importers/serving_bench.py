"""Read what `vllm bench serve` and SGLang's `bench_serving` write and print; both have the names of one old script.

A file is one JSON object per load: alone (`--save-result`), one per line (`--append-result`, SGLang), or in a list (the
summary of `vllm bench sweep`). The printed block has the same numbers under the labels of LABELS. The name of a time is
a statistic and a quantity, such as p99_ttft_ms: `--percentile-metrics` says which of them a file has.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any

from pydantic import Field, JsonValue, create_model

from gptoss_bench.importers.imported_result import (
    ImportedResult,
    ImportedRow,
    ImportedSummary,
    distribution,
    imported,
    of_rows,
    reported_load,
)
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Moment, Number, Seconds, TokenSum, Tool, ToolFile
from gptoss_bench.runs import Clock, EndpointRecord, Manifest
from gptoss_bench.validation import Wanted
from gptoss_client import UsageError

VLLM = Tool("vllm bench serve", "files since 2025-05 (benchmark_serving.py of 0.9) up to 0.33")
SGLANG = Tool("sglang.bench_serving", "files since 2025 up to 0.5.23")
MARKS = frozenset(
    {"completed", "total_input_tokens", "total_output_tokens", "request_throughput", "output_throughput", "duration"}
)
MARKS_NEEDED = 4
SGLANG_MARKS = frozenset({"total_output_tokens_retokenized", "mean_e2e_latency_ms"})
# Statistics and quantities by this kit's names. vLLM says e2el, SGLang e2e_latency.
_POINTS = {"mean": "mean", "p50": "median", "p90": "p90", "p99": "p99"}
_TIMES = {
    "ttft_s": ("ttft",),
    "tpot_s": ("tpot",),
    "itl_s": ("itl",),
    "e2e_s": ("e2el", "e2e_latency"),
    "done_s": ("e2el", "e2e_latency"),
}
_DETAILS = ("ttfts", "itls", "latencies", "start_times", "output_lens")
_LEAST_TOKENS_PER_CHUNK = 1.5  # mean ITL / mean TPOT from which chunks are said to hold several tokens
_LONG_WAIT = 5.0  # in TTFTs
VLLM_CHAT_NOTES = (
    "TTFT is to the first chunk with a choice, the empty role chunk too",
    "ITL has the gaps before the first token and after the last one in it",
    "TPOT begins at its TTFT, so that the wait from the role chunk to the first token is in it",
)
VLLM_NOTES = ("TTFT is to the first chunk with a choice: with chat completions that is the empty role chunk",)
SGLANG_NOTES = ("TTFT has the connecting in it", "failed requests are not reported")

_HEADER = re.compile(r"(?m)^.*= Serving Benchmark Result =.*$")
_END = re.compile(r"(?m)^=+$")
LABELS = {
    "Successful requests": "completed",
    "Failed requests": "failed",
    "Maximum request concurrency": "max_concurrency",
    "Max request concurrency": "max_concurrency",
    "Request rate configured (RPS)": "request_rate",
    "Traffic request rate": "request_rate",
    "Benchmark duration (s)": "duration",
    "Total input tokens": "total_input_tokens",
    "Total generated tokens": "total_output_tokens",
    "Total generated tokens (retokenized)": "total_output_tokens_retokenized",
    "Request throughput (req/s)": "request_throughput",
    "Input token throughput (tok/s)": "input_throughput",
    "Output token throughput (tok/s)": "output_throughput",
    "Total token throughput (tok/s)": "total_token_throughput",
    "Concurrency": "concurrency",
    "Accept length": "accept_length",
    "Acceptance length": "spec_decode_acceptance_length",
    "Drafts": "spec_decode_num_drafts",
}
_LABELS = {label.lower(): name for label, name in LABELS.items()}
_TIME_LABEL = re.compile(r"(mean|median|p90|p99) (ttft|tpot|itl|e2el|e2e latency) \(ms\)")


class ServerInfo(ToolFile):
    """What SGLang's server said of itself."""

    version: str | None = None
    model_path: str | None = None


class ServingBench(ToolFile):
    """Counts and rates of a load, and with details a list entry for each request; times in seconds."""

    completed: Count
    failed: Count | None = None
    num_prompts: Count | None = None
    endpoint_type: str | None = None
    backend: str | None = None
    model_id: str | None = None
    server_info: Annotated[ServerInfo | JsonValue, Field(union_mode="left_to_right")] = None
    max_concurrency: Count | None = None
    concurrency: MaybeNumber = None
    request_rate: Annotated[Number | str | None, Wanted("a number or a text")] = None
    duration: Seconds | None = None
    total_input_tokens: TokenSum | None = None
    total_output_tokens: TokenSum | None = None
    total_output_tokens_retokenized: TokenSum | None = None
    request_throughput: MaybeNumber = None
    input_throughput: MaybeNumber = None
    output_throughput: MaybeNumber = None
    total_token_throughput: MaybeNumber = None
    total_throughput: MaybeNumber = None
    accept_length: MaybeNumber = None
    spec_decode_acceptance_length: MaybeNumber = None
    spec_decode_num_drafts: Count | None = None
    ttfts: list[Seconds] | None = None
    itls: list[list[Seconds]] | None = None
    latencies: list[Seconds] | None = None
    start_times: list[Moment] | None = None
    output_lens: list[Count] | None = None
    input_lens: list[Count] | None = None
    errors: list[str] | None = None


_POINT_FIELDS: dict[str, Any] = {
    f"{at}_{its}_ms": (MaybeNumber, None) for at in _POINTS.values() for every in _TIMES.values() for its in every
}
_ServingBench = create_model("_ServingBench", __base__=ServingBench, **_POINT_FIELDS)


def parse_serving_bench(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of one load; empty for another format. Raises UsageError for a wrong field."""
    if not isinstance(content, dict) or len(MARKS & content.keys()) < MARKS_NEEDED:
        return []
    tool = SGLANG if SGLANG_MARKS & content.keys() else VLLM
    found = _ServingBench.read(content, file=file, tool=tool)
    if all(getattr(found, name) is not None for name in _DETAILS):
        rows = _rows(found, file)
        summary, requests = of_rows(rows, concurrency=found.max_concurrency, gaps_known=True)
        summary.requests_asked, summary.tokens_per_chunk = found.num_prompts, _tokens_per_chunk(found)
        if tool is VLLM and _vllm_notes(found) is VLLM_CHAT_NOTES:
            summary.wait_after_first_share = _wait_after_first_share(rows)
    else:
        summary, requests = _reported(found), None
    summary.percentile_rule = "inclusive"  # that of np.percentile, which makes them
    summary.warmup_requests = None
    info = found.server_info if isinstance(found.server_info, ServerInfo) else ServerInfo()
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(
            engine="sglang" if info.version else None, version=info.version, model=found.model_id or info.model_path
        ),
        parameters={"request_rate": found.request_rate},
    )
    notes = [*(SGLANG_NOTES if tool is SGLANG else _vllm_notes(found)), *_notes(found, summary)]
    return [imported(tool, None, summary, requests=requests, manifest=manifest, notes=notes)]


def parse_serving_blocks(text: str, file: str) -> list[ImportedResult]:
    """Return the result of each printed block of a text; empty without one. Raises UsageError for a wrong number."""
    starts = [*_HEADER.finditer(text)]
    found, ended = list[ImportedResult](), 0
    for at, start in enumerate(starts):
        limit = starts[at + 1].start() if at + 1 < len(starts) else len(text)
        end = _END.search(text, start.end(), limit)
        before, after = text[ended : start.start()], text[start.end() : end.start() if end else limit]
        ended = end.end() if end else limit
        content = {**_lines(before, ("max_concurrency",)), **_lines(after)}
        if len(MARKS & content.keys()) < MARKS_NEEDED:
            missing = sorted(MARKS - content.keys())
            raise UsageError(
                f"{file}: the block {start[0].strip(' =')!r} has no line for {', '.join(missing)}: it is truncated"
            )
        found += parse_serving_bench(content, file)
    return found


def _lines(text: str, wanted: tuple[str, ...] = ()) -> dict[str, JsonValue]:
    """Return the numbers of "label: number" lines by their names in the files."""
    found: dict[str, JsonValue] = {}
    for line in text.splitlines():
        label, colon, value = line.strip(" \t|`#").rpartition(":")
        label = label.strip().lower()
        name = _LABELS.get(label)
        if time := _TIME_LABEL.fullmatch(label):
            name = f"{time[1]}_{time[2].replace(' ', '_')}_ms"
        if colon and name and (not wanted or name in wanted):
            found[name] = _number(value)
    return {name: value for name, value in found.items() if value is not None}


def _number(words: str) -> JsonValue:
    """Return the number, None for a word that says there is none, or the text."""
    words = words.strip().rstrip("*").replace(",", "")
    if words.lower() in ("none", "n/a", "nan", "-", "", "not set"):
        return None
    try:
        return int(words) if re.fullmatch(r"-?[0-9]{1,15}", words) else float(words) if words != "inf" else words
    except ValueError:
        return words


def _reported(found: ServingBench) -> ImportedSummary:
    n, tokens = found.completed, found.total_output_tokens
    per_chunk = _tokens_per_chunk(found)
    later = None if tokens is None else max(tokens - n, 0)  # the first token of a request has no gap before it
    counts = dict.fromkeys(_TIMES, n) | {"itl_s": found.spec_decode_num_drafts or later}
    if per_chunk and not found.spec_decode_num_drafts and later is not None:
        counts["itl_s"] = round(later / per_chunk)
    return reported_load(
        completed=n,
        failed=found.failed,
        asked=found.num_prompts,
        concurrency=found.max_concurrency,
        tokens=tokens,
        wall_s=found.duration,
        request_s=found.request_throughput,
        output_tok_s_total=found.output_throughput,
        mean_in_flight=found.concurrency,
        input_tokens=found.total_input_tokens,
        input_tok_s=found.input_throughput,
        total_tok_s=found.total_token_throughput
        if found.total_token_throughput is not None
        else found.total_throughput,
        retokenised_tokens=found.total_output_tokens_retokenized,
        tokens_per_chunk=per_chunk,
        **{name: _distribution(found, its, counts[name]) for name, its in _TIMES.items()},
    )


def _distribution(found: ServingBench, names: tuple[str, ...], n: int | None) -> Any:
    points = {at: _point(found, word, names) for at, word in _POINTS.items()}
    return distribution(n, points, mean=points["mean"], scale=1e-3)


def _point(found: ServingBench, word: str, names: tuple[str, ...]) -> float | None:
    """Return a statistic; vLLM writes the median as p50 too if it was asked for."""
    values = [getattr(found, f"{word}_{its}_ms") for its in names]
    return next((value for value in values if value is not None), None)


def _tokens_per_chunk(found: ServingBench) -> float | None:
    """Return how many tokens a chunk holds: the reported acceptance length, or mean ITL / mean TPOT."""
    if length := found.spec_decode_acceptance_length or found.accept_length:
        return length
    itl, tpot = _point(found, "mean", ("itl",)), _point(found, "mean", ("tpot",))
    ratio = itl / tpot if itl and tpot else 0.0
    return ratio if ratio >= _LEAST_TOKENS_PER_CHUNK else None


def _vllm_notes(found: ServingBench) -> tuple[str, ...]:
    """Return the notes for the requests that were sent: only chat completions have a role chunk."""
    backend = found.endpoint_type or found.backend
    return VLLM_NOTES if backend is None else VLLM_CHAT_NOTES if "chat" in backend else ()


def _wait_after_first_share(rows: Sequence[ImportedRow]) -> float | None:
    """Return in which share of the requests the wait for the first token comes after the chunk that ended TTFT."""
    known = [(row.ttft_s, row.gaps_s) for row in rows if row.ttft_s is not None and len(row.gaps_s) > 1]
    waits = [gaps[0] >= max(gaps) and gaps[0] >= _LONG_WAIT * ttft_s for ttft_s, gaps in known]
    return sum(waits) / len(waits) if waits else None


def _notes(found: ServingBench, summary: ImportedSummary) -> list[str]:
    notes = []
    if found.failed is None and summary.failed:
        notes.append(f"failed requests are not reported: {summary.failed} of {found.num_prompts} did not complete")
    if summary.tokens_per_chunk:
        notes.append(f"ITL is between chunks of {summary.tokens_per_chunk:.2f} tokens on average, not between tokens")
    again, tokens = found.total_output_tokens_retokenized, found.total_output_tokens
    if again and tokens and again != tokens:
        notes.append(
            f"token rates count {tokens} tokens; the text that came has {again} when it is tokenised again"
            f" ({again / tokens - 1:+.2%})"
        )
    return notes


def _rows(found: ServingBench, file: str) -> list[ImportedRow]:
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
