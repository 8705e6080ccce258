"""Represent a result of another tool as a summary and a request table under the names of this kit."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from typing import Any, Self

import numpy as np
import pandas as pd
from pydantic import Field

from gptoss_bench.importers.tool_file import Tool
from gptoss_bench.runs import (
    REQUEST_COLUMNS,
    Distribution,
    LoadSummary,
    Manifest,
    Record,
    Resolved,
    TokenCounts,
    derive_tables,
)
from gptoss_bench.stats import MIN_SAMPLES_BEYOND, REPORTED_PERCENTILES, summarise
from gptoss_client import NS_PER_S, ServerTimings

NAMES = {"ttft_s": "TTFT", "ttfa_s": "TTFA", "itl_s": "ITL", "tpot_s": "TPOT", "e2e_s": "latency", "done_s": "latency"}
_OF_TIMINGS = (*(one.name for one in fields(ServerTimings)), "wait_s")
_RATES = ("request_s", "output_tok_s_total", "output_tok_s")


class TokenRate(Record):
    """Tokens per second of one test of `tokens` tokens, with its 95 % interval over `n` repetitions.

    `depth` is the number of tokens that were in the KV cache before. `n` is None where the tool does not report it.
    """

    tokens: int | None = None
    depth: int | None = None
    n: int | None = None
    tok_s: float | None = None
    interval: tuple[float, float] | None = None

    @property
    def test(self) -> str:
        """Return tokens and depth, such as "512 @ 4096"; empty if the tokens were not planned."""
        return "" if self.tokens is None else f"{self.tokens} @ {self.depth}" if self.depth else str(self.tokens)


class ImportedSummary(LoadSummary):
    """The summary of another tool's result; what its file does not tell is None."""

    warmup_requests: int | None = None
    requests_asked: int | None = None
    """Number of requests that the tool was asked to send; `completed` and `failed` are what it counted."""
    mean_in_flight: float | None = None
    """Mean number of requests in flight over the whole run."""
    input_tokens: int | None = None
    """Prompt tokens of all completed requests."""
    input_tok_s: float | None = None
    """Prompt tokens per second of the whole run."""
    total_tok_s: float | None = None
    """Prompt and generated tokens per second of the whole run."""
    retokenised_tokens: int | None = None
    """Tokens of the generated text, as the tool's tokenizer counts them."""
    tokens_per_chunk: float | None = None
    """Mean number of tokens of a chunk, if chunks hold several, as with speculative decoding."""
    wait_after_first_share: float | None = None
    """Share of the requests whose longest gap is the first one and at least five times the TTFT; known only for a tool
    that ends TTFT at the empty role chunk and writes the gaps."""
    placeholders: list[str] = Field(default_factory=list)
    """Quantities, such as "ttft_s", for which the tool wrote 0 though it did not measure them."""
    prefill: list[TokenRate] = Field(default_factory=list)
    decode: list[TokenRate] = Field(default_factory=list)
    server_tok_s: list[float] = Field(default_factory=list)

    @classmethod
    def of(cls, summary: LoadSummary) -> Self:
        """Return the summary with the fields that only another tool's result has, all unknown."""
        return cls(**{name: getattr(summary, name) for name in summary.model_fields_set})


@dataclass(frozen=True, slots=True)
class ImportedResult:
    """One result of another tool.

    `requests` has a row a request, and none where the file keeps no single request. `manifest` holds what is known of
    how it was made, `notes` where the tool means something else by a name than this kit, or reports a placeholder.
    """

    tool: str
    version: str | None
    summary: ImportedSummary
    requests: pd.DataFrame = field(default_factory=lambda: derive_tables([])[0])
    manifest: Manifest = field(default_factory=Manifest)
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """Return tool, version and model on one line."""
        model = self.manifest.server.model
        return " ".join(filter(None, (self.tool, self.version, f"of {model}" if model else "")))


def imported(
    tool: Tool,
    version: str | None,
    summary: ImportedSummary,
    *,
    requests: pd.DataFrame | None = None,
    manifest: Manifest | None = None,
    notes: Sequence[str] = (),
) -> ImportedResult:
    """Return the result of a tool, in which placeholders are not reported, with a note for each of them."""
    summary, found = _without_placeholders(summary)
    result = ImportedResult(tool.name, version, summary, manifest=manifest or Manifest(), notes=(*notes, *found))
    return result if requests is None else replace(result, requests=requests)


def _without_placeholders(summary: ImportedSummary) -> tuple[ImportedSummary, list[str]]:
    """Return the summary without figures that tools write for what they did not measure, and notes about them.

    A time of 0 is one: no token takes no time. Only of ITL a percentile may be 0, where chunks are read together.
    Without a completed request no figure is one.
    """
    if not summary.completed and (summary.failed or summary.requests):
        no_figures = {**{name: Distribution() for name in NAMES}, **dict.fromkeys(_RATES)}
        return summary.model_copy(update=no_figures), ["no request completed: zeros in the file are no figures"]
    zero = [name for name in NAMES if _is_zero(summary.distribution(name), every=name == "itl_s")]
    placeholders = list(dict.fromkeys([*summary.placeholders, *zero]))
    notes = [
        f"{NAMES[name]} of 0 in the file is a placeholder: not reported"
        for name in placeholders
        if name != "e2e_s" or "done_s" not in placeholders
    ]
    if "ttft_s" in zero and summary.tpot_s.p50:
        notes.append("TPOT has the TTFT in it, because the TTFT is 0 in the file")
    update = {**{name: Distribution() for name in zero}, "placeholders": placeholders}
    return summary.model_copy(update=update), notes


def _is_zero(reported: Distribution, *, every: bool) -> bool:
    values = [value for value in (reported.mean, reported.p50, reported.p90, reported.p99) if value is not None]
    return bool(values) and (all(value == 0 for value in values) if every else any(value == 0 for value in values))


def reported_load(
    *,
    completed: int | None,
    failed: int | None = None,
    cancelled: int = 0,
    asked: int | None = None,
    concurrency: int | None = None,
    tokens: int | None = None,
    mean_tokens: float | None = None,
    **reported: Any,
) -> ImportedSummary:
    """Return a summary that holds the counts and what the tool reported; all other values are None.

    Args:
        completed: Completed requests, None if the tool does not report it.
        failed: Failed requests. If the tool does not count them, they are those that were `asked` and did not complete.
        cancelled: Requests that were stopped before they ended.
        asked: Number of requests that were planned.
        concurrency: Planned number of requests in flight.
        tokens: Generated tokens of all completed requests.
        mean_tokens: Generated tokens of a completed request, the mean.
        reported: Other fields of the summary by their names.
    """
    if failed is None:
        failed = max(0, asked - completed) if asked is not None and completed is not None else 0
    if mean_tokens is None and tokens is not None and completed:
        mean_tokens = tokens / completed
    return ImportedSummary.model_validate(
        {
            "requests": max((completed or 0) + failed + cancelled, asked or 0),
            "completed": completed or 0,
            "failed": failed,
            "cancelled": cancelled,
            "failures": {"unnamed": failed} if failed else {},
            "requests_asked": asked,
            "concurrency_planned": concurrency,
            "completion_tokens": TokenCounts(sum=tokens, mean=mean_tokens),
            **reported,
        }
    )


def distribution(
    n: int | None, points: Mapping[str, float | None], *, mean: float | None = None, scale: float = 1.0
) -> Distribution:
    """Return the reported "p50", "p90" and "p99", times `scale`, in the form of `summarise`.

    A percentile is resolved if 10 of the `n` samples lie beyond it; without `n` it counts as not resolved.
    """
    p50, p90, p99 = (None if (value := points.get(at)) is None else float(value) * scale for at in REPORTED_PERCENTILES)
    if mean is None and p50 is None and p90 is None and p99 is None:
        return Distribution()
    resolved = {at: min(p, 100 - p) * (n or 0) >= 100 * MIN_SAMPLES_BEYOND for at, p in REPORTED_PERCENTILES.items()}
    return Distribution(
        n=n or 0, mean=None if mean is None else mean * scale, p50=p50, p90=p90, p99=p99, resolved=Resolved(**resolved)
    )


@dataclass(frozen=True, slots=True)
class ImportedRow:
    """One request of a file: durations in seconds, times in ns of the tool's clock. `gaps_s`: gaps between events.

    `server` has the durations that the server reported with it.
    """

    sent_ns: int
    ttft_s: float | None = None
    ttfa_s: float | None = None
    e2e_s: float | None = None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    gaps_s: Sequence[float] = ()
    outcome: str = "completed"
    failure: str | None = None
    error: str | None = None
    prompt_id: int | None = None
    phase: str = "measure"
    server: ServerTimings | None = None


def of_rows(
    rows: Sequence[ImportedRow], *, concurrency: int | None, gaps_known: bool
) -> tuple[ImportedSummary, pd.DataFrame]:
    """Return the result of a file that keeps single requests, computed as for a run of this kit.

    A request ends with its last event. Tokens per event are known only if there are as many events as tokens. A TTFT of
    0 is a placeholder: its request has no TTFT.
    """
    placeholder = any(row.ttft_s == 0 for row in rows)
    rows = [replace(row, ttft_s=None, gaps_s=()) if row.ttft_s == 0 else row for row in rows]
    requests = _requests(rows)
    events = pd.concat([_chunks(at, row) for at, row in enumerate(rows)], ignore_index=True) if rows else _chunks_none()
    summary = ImportedSummary.of(summarise(requests, events, concurrency=concurrency or 1))
    summary.truncated, summary.warmup_requests = None, int((requests["phase"] != "measure").sum()) or None
    summary.placeholders = ["ttft_s"] if placeholder else []
    if not requests["ttfa_s"].notna().any():
        summary.ttfa_missing = None
    if concurrency is None:
        summary.concurrency_planned = summary.concurrency_delivered = None
        summary.output_tok_s = summary.steady_window_s = summary.steady_window_ns = None
    if not gaps_known:
        summary.itl_s = Distribution()
    return summary, requests


def _requests(rows: Sequence[ImportedRow]) -> pd.DataFrame:
    values: dict[str, Any] = dict.fromkeys(REQUEST_COLUMNS, None)
    for name in ("phase", "prompt_id", "sent_ns", "outcome", "failure", "error", "ttft_s", "ttfa_s", "e2e_s"):
        values[name] = [getattr(row, name) for row in rows]
    for name in ("prompt_tokens", "completion_tokens"):
        values[name] = [getattr(row, name) for row in rows]
    for name in _OF_TIMINGS:
        values[f"server_{name}"] = [getattr(row.server, name, None) for row in rows]
    values |= {"request_id": range(len(rows)), "scheduled_ns": values["sent_ns"], "done_s": values["e2e_s"]}
    values |= {"truncated": False, "retries": 0, "answer_chars": 0, "reasoning_chars": 0}
    values["done_ns"] = [None if row.e2e_s is None else row.sent_ns + round(row.e2e_s * NS_PER_S) for row in rows]
    values["output_events"] = values["events"] = [len(row.gaps_s) + 1 if row.gaps_s else 0 for row in rows]
    values["tpot_s"] = [_tpot_s(row) for row in rows]
    types = {**REQUEST_COLUMNS, "prompt_id": "Int64"}  # unknown if the file does not report which prompt was sent
    index = range(len(rows))
    return pd.DataFrame({name: pd.Series(values[name], index=index, dtype=types[name]) for name in types})


def _tpot_s(row: ImportedRow) -> float | None:
    if row.ttft_s is None or row.e2e_s is None or (row.completion_tokens or 0) < 2:
        return None
    return (row.e2e_s - row.ttft_s) / ((row.completion_tokens or 0) - 1)


def _chunks(request_id: int, row: ImportedRow) -> pd.DataFrame:
    """Return the events of a request: first and last, and those between if the file keeps the gaps."""
    if row.ttft_s is None:
        return _chunks_none()
    last = [] if row.gaps_s or row.e2e_s is None else [row.e2e_s - row.ttft_s]
    after_s = np.cumsum([row.ttft_s, *row.gaps_s, *last])
    counted = len(row.gaps_s) + 1 == row.completion_tokens
    return pd.DataFrame(
        {
            "request_id": request_id,
            "phase": row.phase,
            "arrival_ns": row.sent_ns + np.round(after_s * NS_PER_S).astype("int64"),
            "output": True,
            "tokens": pd.Series([1 if counted else None] * len(after_s), dtype="Int32"),
            "lag_ns": pd.Series([None] * len(after_s), dtype="Int64"),
            "itl_s": np.diff(after_s, prepend=np.nan),
        }
    )


def _chunks_none() -> pd.DataFrame:
    return derive_tables([])[1][["request_id", "phase", "arrival_ns", "output", "tokens", "lag_ns", "itl_s"]]
