"""Build the event table from decoded bodies and arrival times, one column at a time."""

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
import pandas as pd
import pyarrow as pa

from gptoss_bench.runs.arrival_bounds import gap_bounds
from gptoss_bench.runs.event_columns import KINDS, Columns
from gptoss_bench.runs.event_tokens import event_tokens
from gptoss_client import ENDS_WITH_EVENT, NS_PER_S, Reply, Trace

EVENT_COLUMNS = {
    "request_id": "int64",
    "phase": "str",
    "event": "int32",
    "piece": "int32",
    "arrival_ns": "int64",
    "not_before_ns": "Int64",
    "lag_ns": "Int64",
    "kind": "str",
    "output": "bool",
    "tokens": "Int32",
    "answer_chars": "int32",
    "reasoning_chars": "int32",
    "itl_s": "float64",
    "itl_low_s": "float64",
    "itl_high_s": "float64",
}


def build_event_table(traces: Sequence[Trace], replies: Sequence[Reply], columns: Columns) -> pd.DataFrame:
    """Return the event table of traces whose decoded bodies are in `columns`, with the types of EVENT_COLUMNS."""
    rows = np.asarray(columns.events)
    streams = [trace for trace in traces if trace.status == 200]
    lengths = np.array(columns.length, dtype="int64")
    offsets = np.cumsum(lengths) - lengths
    sizes = [len(piece) for trace in streams for _, piece in trace.pieces]
    timestamps = [timestamp for trace in streams for timestamp, _ in trace.pieces]
    pieces = np.array([len(trace.pieces) if trace.status == 200 else 0 for trace in traces], dtype="int64")
    # over all bodies: the piece that holds the last byte of each event
    ends, event_ends = np.cumsum(sizes), np.asarray(columns.end) + np.repeat(offsets, rows)
    piece = np.searchsorted(ends, event_ends, side="left")
    arrival_ns = np.array(timestamps, dtype="int64")[piece]
    output = np.asarray(columns.output).astype(bool)
    starts = np.repeat(np.cumsum(rows) - rows, rows)
    not_before = _not_before(traces, rows, piece, arrival_ns, event_ends == ends[piece])
    lags = [lag for trace in streams for lag in trace.lags_ns or [0] * len(trace.pieces)]
    lags_known = np.repeat(np.array([len(trace.lags_ns) > 0 for trace in traces], dtype=bool), rows)
    return pd.DataFrame(
        {
            "request_id": np.repeat(np.array([trace.request_id for trace in traces], dtype="int64"), rows),
            "phase": _texts([trace.phase for trace in traces], np.repeat(np.arange(len(traces)), rows)),
            "event": (np.arange(len(output)) - starts).astype("int32"),
            "piece": (piece - np.repeat(np.cumsum(pieces) - pieces, rows)).astype("int32"),
            "arrival_ns": arrival_ns,
            "not_before_ns": not_before,
            "lag_ns": pd.arrays.IntegerArray(np.array(lags, dtype="int64")[piece], ~lags_known),
            "kind": _texts(KINDS, np.asarray(columns.kind)),
            "output": output,
            "tokens": _tokens(replies, columns),
            "answer_chars": np.array(columns.answer_chars, dtype="int32"),
            "reasoning_chars": np.array(columns.reasoning_chars, dtype="int32"),
            **_gaps(arrival_ns, not_before, output, starts),
        }
    )


def _not_before(
    traces: Sequence[Trace],
    rows: npt.NDArray[np.int64],
    piece: npt.NDArray[np.int64],
    arrival_ns: npt.NDArray[np.int64],
    ends_with_piece: npt.NDArray[np.bool_],
) -> pd.arrays.IntegerArray:
    """Return the latest time (ns) at which each event was known to be absent; null if unknown.

    It is that of the event's piece. The last event of a read that ends with it arrived with the segment whose timestamp
    the read has, so it is exact.
    """
    streams = [trace for trace in traces if trace.status == 200]
    known = np.repeat(np.array([len(trace.not_before_ns) > 0 for trace in traces], dtype=bool), rows)
    bounds = [at for trace in streams for at in trace.not_before_ns or [0] * len(trace.pieces)]
    marks = [int(mark, 16) for trace in streams for mark in trace.read_marks or "0" * len(trace.pieces)]
    ends_with_event = (np.array(marks, dtype="int8")[piece] & ENDS_WITH_EVENT) > 0
    is_last = np.append(piece[1:] != piece[:-1], True)[: len(piece)]
    exact = ends_with_event & is_last & ends_with_piece
    return pd.arrays.IntegerArray(np.where(exact, arrival_ns, np.array(bounds, dtype="int64")[piece]), ~known)


def _texts(names: Sequence[str], codes: npt.NDArray[Any]) -> pd.Series:
    """Return the names of these indices."""
    texts = pa.DictionaryArray.from_arrays(pa.array(codes), pa.array(names, pa.large_string()))
    return pd.Series(texts.dictionary_decode(), dtype="str")


def _tokens(replies: Sequence[Reply], columns: Columns) -> pd.arrays.IntegerArray:
    """Return the tokens of each event; null if unknown."""
    stops = np.cumsum(np.asarray(columns.events)).tolist()
    tokens = np.zeros(len(columns.end), dtype="int32")
    unknown = np.zeros(len(columns.end), dtype=bool)
    output, count, ids = (np.asarray(column) for column in (columns.output, columns.count, columns.ids))
    finish = np.asarray(columns.kind) == KINDS.index("finish")
    for reply, start, stop in zip(replies, [0, *stops], stops, strict=False):
        rows = slice(start, stop)
        found = event_tokens(output[rows].astype(bool), finish[rows], count[rows], ids[rows], reply.completion_tokens)
        if found is None:
            unknown[rows] = True
        else:
            tokens[rows] = found
    return pd.arrays.IntegerArray(tokens, unknown)


def _gaps(
    arrival_ns: npt.NDArray[np.int64],
    not_before: pd.arrays.IntegerArray,
    output: npt.NDArray[np.bool_],
    starts: npt.NDArray[np.int64],
) -> dict[str, npt.NDArray[np.float64]]:
    """Return the seconds since the previous output event of the same stream, and the least and most that they can be.

    `starts` marks where streams begin.
    """
    rows = np.flatnonzero(output)
    same_stream = starts[rows[1:]] == starts[rows[:-1]]
    before, after = rows[:-1][same_stream], rows[1:][same_stream]
    gaps = {name: np.full(len(output), np.nan) for name in ("itl_s", "itl_low_s", "itl_high_s")}
    gaps["itl_s"][after] = (arrival_ns[after] - arrival_ns[before]) / NS_PER_S
    gaps["itl_low_s"][after], gaps["itl_high_s"][after] = gap_bounds(arrival_ns, not_before, before, after)
    return gaps
