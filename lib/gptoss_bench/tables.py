"""Traces in, two tables out: one row an event of a response stream, and one row a planned request.

The tables hold what was seen; a value that was not seen is null, never 0. Column names are those of the metrics.
"""

from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.outcome import outcome
from gptoss_bench.tokens import event_tokens
from gptoss_bench.trace import Trace
from gptoss_bench.wire import Event, Reply, ServerTimings, decode, reply

NS_PER_S = 1e9

CHUNK_COLUMNS = {
    "request_id": "int64",
    "phase": "str",
    "event": "int32",
    "piece": "int32",
    "arrival_ns": "int64",
    "lag_ns": "Int64",
    "kind": "str",
    "output": "bool",
    "tokens": "Int32",
    "answer_chars": "int32",
    "reasoning_chars": "int32",
    "itl_s": "float64",
}

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
    "stamp_source": "str",
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
    "prompt_tokens": "Int32",
    "completion_tokens": "Int32",
    "reasoning_tokens": "Int32",
    "cached_tokens": "Int32",
    "events": "int32",
    "output_events": "int32",
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
    "answer_chars": "int32",
    "reasoning_chars": "int32",
}
_OF_TRACE = tuple(field.name for field in fields(Trace) if field.name in REQUEST_COLUMNS)
_OF_REPLY = tuple(field.name for field in fields(Reply) if field.name in REQUEST_COLUMNS.keys() - {"error"})
_OF_TIMINGS = tuple(field.name for field in fields(ServerTimings))
_KEY = ["phase", "request_id"]


def derive(traces: Iterable[Trace]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (request table, event table) of the same traces, each body decoded once."""
    traces = list(traces)
    columns: dict[str, list[Any]] = {name: [] for name in CHUNK_COLUMNS}
    replies = []
    for trace in traces:
        events = _events(trace)
        said = reply(events)
        _append(columns, trace, events, event_tokens(events, said.completion_tokens))
        replies.append(said)
    chunks = _frame(columns, CHUNK_COLUMNS)
    return _requests(traces, replies, chunks), chunks


def event_table(traces: Iterable[Trace]) -> pd.DataFrame:
    """One row an event, in the order of the traces and of arrival; columns and dtypes are CHUNK_COLUMNS.

    `arrival_ns` is the stamp of the piece that completed the event (CLOCK_MONOTONIC). `itl_s` is the gap in seconds to
    the previous output-bearing event of the request, NaN for the first one and for events that bear no output.
    `lag_ns` is what the client added to it by reading late, null where that is not known. The body of a refused request
    (status other than 200) is no stream and has no events.
    """
    return derive(traces)[1]


def request_table(traces: Iterable[Trace], chunks: pd.DataFrame | None = None) -> pd.DataFrame:
    """Exactly one row a trace, in their order; columns and dtypes are REQUEST_COLUMNS, times in seconds.

    `chunks` is the event table of the same traces, where it is at hand. `done_ns` is the terminating chunk, or the last
    piece that came where none did. Of a request that failed or was cancelled the times up to its first events stay;
    `tpot_s`, `e2e_s`, `done_s` and what follows from them are null.
    """
    if chunks is None:
        return derive(traces)[0]
    traces = list(traces)
    return _requests(traces, [reply(_events(trace)) for trace in traces], chunks)


def _events(trace: Trace) -> list[Event]:
    return decode(piece for _, piece in trace.pieces) if trace.status == 200 else []


def _append(columns: dict[str, list[Any]], trace: Trace, events: Sequence[Event], tokens: Sequence[int] | None) -> None:
    arrivals = [trace.pieces[event.piece][0] for event in events]
    outputs = [event.is_output for event in events]
    count = len(events)
    columns["request_id"] += [trace.request_id] * count
    columns["phase"] += [trace.phase] * count
    columns["event"] += range(count)
    columns["piece"] += [event.piece for event in events]
    columns["arrival_ns"] += arrivals
    columns["lag_ns"] += [trace.lags_ns[event.piece] for event in events] if trace.lags_ns else [None] * count
    columns["kind"] += [event.kind for event in events]
    columns["output"] += outputs
    columns["tokens"] += [None] * count if tokens is None else tokens
    columns["answer_chars"] += [len(event.answer) for event in events]
    columns["reasoning_chars"] += [len(event.reasoning) for event in events]
    columns["itl_s"] += _gaps(arrivals, outputs)


def _gaps(arrivals: Sequence[int], outputs: Sequence[bool]) -> list[float]:
    gaps = []
    previous = None
    for arrival, output in zip(arrivals, outputs, strict=True):
        gaps.append((arrival - previous) / NS_PER_S if output and previous is not None else np.nan)
        previous = arrival if output else previous
    return gaps


def _frame(columns: dict[str, list[Any]], dtypes: dict[str, str]) -> pd.DataFrame:
    return pd.DataFrame({name: pd.Series(columns[name], dtype=dtype) for name, dtype in dtypes.items()})


def _requests(traces: Sequence[Trace], replies: Sequence[Reply], chunks: pd.DataFrame) -> pd.DataFrame:
    endings = [outcome(trace, said) for trace, said in zip(traces, replies, strict=True)]
    columns: dict[str, list[Any]] = {name: [None] * len(traces) for name in REQUEST_COLUMNS}
    columns |= {name: [getattr(trace, name) for trace in traces] for name in _OF_TRACE}
    columns |= {name: [getattr(said, name) for said in replies] for name in _OF_REPLY}
    columns |= {f"server_{name}": [getattr(said.timings, name, None) for said in replies] for name in _OF_TIMINGS}
    columns["done_ns"] = [_last_stamp(trace) for trace in traces]
    columns["outcome"] = [ending.name for ending in endings]
    columns["failure"] = [ending.failure for ending in endings]
    columns["error"] = [ending.error for ending in endings]
    columns["answer_chars"] = [len(said.answer_text) for said in replies]
    columns["reasoning_chars"] = [len(said.reasoning_text) for said in replies]
    columns["truncated"] = [False] * len(traces)
    table = _frame(columns, REQUEST_COLUMNS)
    table["truncated"] = table["outcome"].eq("completed") & table["finish_reason"].eq("length")
    return _with_times(table, chunks)


def _last_stamp(trace: Trace) -> int | None:
    if trace.done_ns is None and trace.pieces:
        return trace.pieces[-1][0]
    return trace.done_ns


def _with_times(table: pd.DataFrame, chunks: pd.DataFrame) -> pd.DataFrame:
    """Fill in what follows from the stamps of the events."""
    row = pd.MultiIndex.from_frame(table[_KEY])
    completed = table["outcome"].eq("completed").to_numpy()

    def stamp(events: pd.DataFrame, which: str) -> pd.Series:
        """The first or last arrival (ns, null where there is none) among these events, by row of the table."""
        return events.groupby(_KEY)["arrival_ns"].agg(which).astype("Int64").reindex(row).reset_index(drop=True)

    outputs = chunks[chunks["output"]]
    first, last = stamp(outputs, "min"), stamp(outputs, "max")
    first_tokens = outputs.groupby(_KEY)["tokens"].agg("first").reindex(row).reset_index(drop=True)
    later_tokens = _numbers(table["completion_tokens"] - first_tokens)
    prompt, answer = _numbers(table["prompt_tokens"]), _numbers(table["completion_tokens"])
    table["client_queue_s"] = _seconds(table["sent_ns"] - table["scheduled_ns"])
    table["ttft_s"] = _seconds(first - table["sent_ns"])
    table["ttfa_s"] = _seconds(stamp(chunks[chunks["answer_chars"] > 0], "min") - table["sent_ns"])
    table["ttfc_s"] = _seconds(stamp(chunks, "min") - table["sent_ns"])
    table["ttft_scheduled_s"] = _seconds(first - table["scheduled_ns"])
    table["e2e_scheduled_s"] = _where(completed, _seconds(last - table["scheduled_ns"]))
    table["e2e_s"] = _where(completed, _seconds(last - table["sent_ns"]))
    table["done_s"] = _where(completed, _seconds(table["done_ns"] - table["sent_ns"]))
    table["tpot_s"] = _ratio(_where(completed, _seconds(last - first)), later_tokens)
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
    """The quotient, null where the divisor is not above 0."""
    return over / np.where(under > 0, under, np.nan)
