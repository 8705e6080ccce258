"""Convert the sent streams of a reference server to its send log, one row per event; write, read and describe it."""

import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.stream import SentStream
from gptoss_bench.files import replacing
from gptoss_client import UsageError

SEND_LOG_COLUMNS = {
    "stream": "int64",  # the number in the event's id
    "event": "int32",  # from 0, without comments: the `event` of a run's event table
    "kind": "str",
    "output": "bool",
    "tokens": "int32",
    "asked_ns": "int64",  # arrival of the request's last byte, by the kernel if it has timestamps
    "due_ns": "int64",
    "sent_ns": "int64",  # immediately before the send() that completed the event, not counting HTTP framing
    "sent_after_ns": "int64",  # immediately after it
    "fault": "str",  # of the stream: http, error, cut, or null
}
_PLAN = b"reference_plan"


@dataclass(frozen=True, slots=True)
class SendLog:
    """A log read from disk; `events` has SEND_LOG_COLUMNS, with streams in the order in which they ended."""

    plan: ReferencePlan
    events: pd.DataFrame


def send_log_table(streams: Iterable[SentStream]) -> pd.DataFrame:
    """Return one row per event that was sent completely, or per refusal."""
    columns: dict[str, list[Any]] = {name: [] for name in SEND_LOG_COLUMNS}
    for stream in streams:
        timestamps = stream.timestamps
        event = 0
        for at in range(len(timestamps) // 2):
            for sent in stream.completes[at]:
                row = (stream.number, event, sent.kind, sent.kind == "output", sent.tokens, stream.asked_ns,
                       stream.due_ns[at], timestamps[2 * at], timestamps[2 * at + 1], stream.fault)  # fmt: skip
                for values, value in zip(columns.values(), row, strict=True):
                    values.append(value)
                event += 1
    return pd.DataFrame({name: pd.Series(columns[name], dtype=dtype) for name, dtype in SEND_LOG_COLUMNS.items()})


def write_send_log(path: Path, plan: ReferencePlan, events: pd.DataFrame) -> None:
    """Write the log atomically. Raises OSError if it cannot be written."""
    found = pa.Table.from_pandas(events, preserve_index=False)
    found = found.replace_schema_metadata({**(found.schema.metadata or {}), _PLAN: json.dumps(asdict(plan)).encode()})
    with replacing(path) as part:
        pq.write_table(found, part, compression="zstd")


def read_send_log(path: Path) -> SendLog:
    """Read a log. Raises UsageError if the file is not one."""
    try:
        found = pq.read_table(path)
        plan = ReferencePlan(**json.loads(found.schema.metadata[_PLAN]))
    except (OSError, KeyError, TypeError, ValueError) as error:
        raise UsageError(f"{path} is not the log of a reference server: {error}") from error
    return SendLog(plan, found.to_pandas())


def server_lateness_ms(events: pd.DataFrame) -> dict[str, float | None]:
    """Return the server's own lateness (send minus due): p50, p99 and max in ms; None if nothing was sent."""
    if not len(events):
        return dict.fromkeys(("p50", "p99", "max"))
    late = (events["sent_ns"] - events["due_ns"]).to_numpy() / 1e6
    p50, p99 = np.percentile(late, (50, 99))
    return {"p50": float(p50), "p99": float(p99), "max": float(late.max())}
