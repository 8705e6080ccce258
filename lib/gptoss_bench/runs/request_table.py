"""Derive the request table and the event table from traces: one row per planned request, one per event.

The tables hold what was seen; a value that was not seen is null, never 0.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.runs.arrival_bounds import EventRows, time_per_output_token
from gptoss_bench.runs.event_columns import Columns
from gptoss_bench.runs.event_table import build_event_table
from gptoss_client import NS_PER_S, REORDERED, Reply, ServerTimings, Trace, request_outcome

REQUEST_COLUMNS = {
    "request_id": "int64",
    "phase": "str",
    "prompt_id": "int64",
    "scheduled_ns": "int64",
    "sent_ns": "Int64",
    "done_ns": "Int64",
    "status": "Int16",
    "outcome": "str",
    "failure": "str",
    "truncated": "bool",
    "finish_reason": "str",
    "error": "str",
    "retries": "int32",
    "timestamp_source": "str",
    "connect_s": "float64",
    "client_queue_s": "float64",
    "ttft_s": "float64",
    "ttfa_s": "float64",
    "ttfc_s": "float64",
    "ttft_scheduled_s": "float64",
    "e2e_scheduled_s": "float64",
    "tpot_s": "float64",
    "e2e_s": "float64",
    "done_s": "float64",
    "ttft_low_s": "float64",
    "ttft_high_s": "float64",
    "ttfa_low_s": "float64",
    "ttfa_high_s": "float64",
    "tpot_low_s": "float64",
    "tpot_high_s": "float64",
    "e2e_low_s": "float64",
    "e2e_high_s": "float64",
    "done_low_s": "float64",
    "done_high_s": "float64",
    "prompt_tokens": "Int32",
    "completion_tokens": "Int32",
    "reasoning_tokens": "Int32",
    "cached_tokens": "Int32",
    "events": "int32",
    "output_events": "int32",
    "packed": "Int32",
    "reordered": "Int32",
    "tokens_per_event": "float64",
    "ttft_formula_s": "float64",
    "server_source": "str",
    "server_load_s": "float64",
    "server_prompt_s": "float64",
    "server_prompt_tokens": "Int32",
    "server_cached_tokens": "Int32",
    "server_eval_s": "float64",
    "server_eval_tokens": "Int32",
    "server_total_s": "float64",
    "server_wait_s": "float64",
    "answer_chars": "int32",
    "reasoning_chars": "int32",
    "max_tokens": "Int32",
    "conversation": "Int64",
    "turn": "Int32",
    "request_sha256": "str",
}
_OF_TRACE = tuple(field.name for field in fields(Trace) if field.name in REQUEST_COLUMNS)
_OF_REPLY = tuple(field.name for field in fields(Reply) if field.name in REQUEST_COLUMNS.keys() - {"error"})
_OF_TIMINGS = (*(field.name for field in fields(ServerTimings)), "wait_s")


def derive_tables(traces: Iterable[Trace]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (request table, event table) of the same traces, each body decoded once."""
    traces = list(traces)
    columns, replies = _decoded(traces)
    events = build_event_table(traces, replies, columns)
    return _requests(traces, replies, events, columns), events


def _decoded(traces: Sequence[Trace]) -> tuple[Columns, list[Reply]]:
    columns = Columns()
    # the body of a refused request is no stream
    return columns, [columns.add([piece for _, piece in t.pieces] if t.status == 200 else []) for t in traces]


def _requests(
    traces: Sequence[Trace], replies: Sequence[Reply], events: pd.DataFrame, columns: Columns
) -> pd.DataFrame:
    endings = [request_outcome(trace, reply) for trace, reply in zip(traces, replies, strict=True)]
    values: dict[str, list[Any]] = {name: [None] * len(traces) for name in REQUEST_COLUMNS}
    values |= {name: [getattr(trace, name) for trace in traces] for name in _OF_TRACE}
    values |= {name: [getattr(reply, name) for reply in replies] for name in _OF_REPLY}
    values |= {f"server_{name}": [getattr(reply.timings, name, None) for reply in replies] for name in _OF_TIMINGS}
    values["done_ns"] = [_last_timestamp(trace) for trace in traces]
    values["outcome"] = [ending.name for ending in endings]
    values["failure"] = [ending.failure for ending in endings]
    values["error"] = [ending.error for ending in endings]
    values["answer_chars"] = [len(reply.answer_text) for reply in replies]
    values["reasoning_chars"] = [len(reply.reasoning_text) for reply in replies]
    values["truncated"] = [False] * len(traces)
    values["packed"] = _packed_events(traces, events, np.asarray(columns.events))
    values["reordered"] = [_reordered_pieces(trace) for trace in traces]
    table = pd.DataFrame({name: pd.Series(values[name], dtype=dtype) for name, dtype in REQUEST_COLUMNS.items()})
    table["truncated"] = table["outcome"].eq("completed") & table["finish_reason"].eq("length")
    return _with_times(table, events, np.asarray(columns.events))


def _packed_events(traces: Sequence[Trace], events: pd.DataFrame, rows: npt.NDArray[np.int64]) -> list[int | None]:
    """Return how many output-bearing events of each request came in one TCP segment with the one before.

    None without kernel timestamps, because the segments of a read are then unknown.
    """
    output = events["output"].to_numpy()
    owner, piece = np.repeat(np.arange(len(traces)), rows)[output], events["piece"].to_numpy()[output]
    exact = events["not_before_ns"].eq(events["arrival_ns"]).fillna(False).to_numpy(bool)[output]
    # of several events in a read of several segments, only the last can be exact
    together = (owner[1:] == owner[:-1]) & (piece[1:] == piece[:-1]) & exact[:-1]
    counts = np.bincount(owner[1:][together], minlength=len(traces)).tolist()
    known = [trace.timestamp_source == "kernel" and len(trace.not_before_ns) > 0 for trace in traces]
    return [count if is_known else None for count, is_known in zip(counts, known, strict=True)]


def _reordered_pieces(trace: Trace) -> int | None:
    """Return how many reads have a timestamp before the time at which their data was absent; None if unknown."""
    return sum(int(mark, 16) & REORDERED > 0 for mark in trace.read_marks) if trace.not_before_ns else None


def _last_timestamp(trace: Trace) -> int | None:
    if trace.done_ns is None and trace.pieces:
        return trace.pieces[-1][0]
    return trace.done_ns


def _with_times(table: pd.DataFrame, events: pd.DataFrame, rows: npt.NDArray[np.int64]) -> pd.DataFrame:
    """Fill in what follows from the arrival times of the events; `rows` is the number of events of each request."""
    completed = table["outcome"].eq("completed").to_numpy()
    seen = EventRows(events, np.repeat(np.arange(len(table)), rows), len(table))
    some, answers = np.ones(len(events), dtype=bool), events["answer_chars"].to_numpy() > 0
    first, last = seen.first(seen.arrival, seen.output), seen.last(seen.arrival, seen.output)
    tpot = time_per_output_token(seen, table["completion_tokens"])
    prompt, answer = _numbers(table["prompt_tokens"]), _numbers(table["completion_tokens"])
    table["client_queue_s"] = _seconds(table["sent_ns"] - table["scheduled_ns"]) - table["connect_s"]
    table["ttft_s"] = _seconds(first - table["sent_ns"])
    table["ttfa_s"] = _seconds(seen.first(seen.arrival, answers) - table["sent_ns"])
    table["ttfc_s"] = _seconds(seen.first(seen.arrival, some) - table["sent_ns"])
    table["ttft_scheduled_s"] = _seconds(first - table["scheduled_ns"])
    table["e2e_scheduled_s"] = _where(completed, _seconds(last - table["scheduled_ns"]))
    table["e2e_s"] = _where(completed, _seconds(last - table["sent_ns"]))
    table["done_s"] = _where(completed, _seconds(table["done_ns"] - table["sent_ns"]))
    table["tpot_s"] = _where(completed, tpot.value)
    table["tpot_low_s"], table["tpot_high_s"] = _where(completed, tpot.low), _where(completed, tpot.high)
    earliest = {
        "ttft": seen.first(seen.not_before, seen.output),
        "ttfa": seen.first(seen.not_before, answers),
        "e2e": seen.last(seen.not_before, seen.output),
        "done": seen.last(seen.not_before, some),
    }
    for name, not_before in earliest.items():  # nothing arrives later than its timestamp
        low = _seconds(not_before - table["sent_ns"])
        table[f"{name}_low_s"] = np.where(table[f"{name}_s"].notna(), low, np.nan)
        table[f"{name}_high_s"] = np.where(np.isnan(low), np.nan, table[f"{name}_s"])
    table["ttft_formula_s"] = _ratio(prompt, prompt + answer) * table["done_s"]
    table["tokens_per_event"] = _ratio(answer, _numbers(table["output_events"]))
    return table


def _numbers(values: pd.Series) -> npt.NDArray[np.float64]:
    return values.to_numpy(dtype="float64", na_value=np.nan)


def _seconds(duration_ns: pd.Series) -> npt.NDArray[np.float64]:
    return _numbers(duration_ns) / NS_PER_S


def _where(known: npt.NDArray[np.bool_], values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    return np.where(known, values, np.nan)


def _ratio(over: npt.NDArray[np.float64], under: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the quotient; null if the divisor is not above 0."""
    return over / np.where(under > 0, under, np.nan)
