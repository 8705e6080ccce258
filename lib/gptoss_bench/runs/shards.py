"""Merge the tables of the processes that sent one load together: every row is kept, and only instants are shifted.

Each process writes a run folder of its own, shards/0, shards/1 and so on, with all raw bytes. Its instants are of its
own clock; here they become those of the coordinator's. Durations stay as they were measured: each is of one clock.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, fields, replace
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq
from pydantic import JsonValue

from gptoss_bench.files import reading, replacing
from gptoss_bench.runs.derived_tables import REBUILD
from gptoss_bench.runs.manifest import Worker
from gptoss_bench.runs.pauses import FILES
from gptoss_bench.runs.request_table import derive_tables
from gptoss_client import LoadPlan, LoadShard, Trace, UnsentRequests, UsageError, count_at

SHARDS = "shards"
# Instants by table; every other column is a duration, a count or a text.
INSTANTS = {
    "requests": ("scheduled_ns", "sent_ns", "done_ns"),
    "events": ("arrival_ns", "not_before_ns"),
    "stalls": ("from_ns", "to_ns"),
    "heartbeats": ("due_ns",),
}


@dataclass(frozen=True, slots=True)
class ShardTables:
    """The folder of the tables of worker `index`, whose clock is `offset_ns` ahead of the coordinator's."""

    index: int
    folder: Path
    offset_ns: int


def shard_folder(run: Path, index: int) -> Path:
    """Return the run folder of one worker."""
    return run / SHARDS / str(index)


def merge_tables(shards: Sequence[ShardTables], lost: Iterable[Trace], target: Path) -> None:
    """Write the tables of a load that several workers sent: theirs, with instants shifted and a column `shard`.

    Args:
        shards: The tables of each worker; a table that a worker has not got has no rows.
        lost: A trace for each request that no worker has a row of; its shard follows from its id.
        target: Folder that gets requests.parquet, events.parquet and the pauses of the workers.

    Raises:
        UsageError: Two workers have a row of the same request.
    """
    requests = [_with_shard(_shifted_table(shard, "requests"), shard.index) for shard in shards if _has(shard)]
    if missing := list(lost):
        frame = derive_tables(missing)[0]
        count = max(len(shards), 1)
        rows = pa.Table.from_pandas(frame, preserve_index=False, nthreads=1)
        if requests:  # a column that no request of a worker needed is in none of their tables
            rows = rows.select([name for name in rows.column_names if name in requests[0].column_names])
        requests.append(_with_shard(rows, (frame["request_id"] % count).to_numpy("int32")))
    if not requests:
        return
    whole = pa.concat_tables(requests, promote_options="default")
    _refuse_duplicates(whole)
    with ExitStack() as stack:
        parts = {name: stack.enter_context(replacing(target / f"{name}.parquet")) for name in ("requests", "events")}
        pq.write_table(whole, parts["requests"], compression="zstd")
        schema = next((pq.read_schema(shard.folder / "events.parquet") for shard in shards if _has(shard)), None)
        if schema is None:
            schema = pa.Schema.from_pandas(derive_tables([])[1], preserve_index=False)
        events = stack.enter_context(pq.ParquetWriter(parts["events"], schema, compression="zstd"))
        for shard in filter(_has, shards):
            for table in _event_groups(shard):
                events.write_table(table.cast(schema))
        for name in FILES:
            if all((shard.folder / f"{name}.parquet").exists() for shard in filter(_has, shards)):
                part = stack.enter_context(replacing(target / f"{name}.parquet"))
                _pauses(shards, name).to_parquet(part, index=False, compression="zstd")


def lost_requests(
    parameters: Mapping[str, JsonValue], workers: Sequence[Worker], recorded: Mapping[int, Mapping[int, int]]
) -> Iterator[Trace]:
    """Yield a trace for each planned request of a lost worker of which it has no row.

    A load that ends by time has no number of requests: of a lost worker only those are known to be lost whose id lies
    below one that ended.

    Args:
        parameters: Parameters of the whole load, from its manifest.
        workers: All workers of the load.
        recorded: By worker, the prompt id of each request that has a row, by request id.
    """
    warmup, is_fixed = count_at(dict(parameters), "warmup") or 0, parameters.get("prompts") == "fixed"
    known = {request_id - prompt_id for rows in recorded.values() for request_id, prompt_id in rows.items()}
    first_row_id = min(known, default=0)  # where prompts differ, all requests have the same difference
    planned = [worker.requests for worker in workers]
    due_s = _due_s(parameters)
    for worker in workers:
        if worker.lost is None:
            continue
        shard, ended = LoadShard(worker.index, len(workers)), set(recorded.get(worker.index, ()))
        end = max(ended, default=-1) + 1 if None in planned else warmup + sum(filter(None, planned))
        at_ns, why = worker.lost_ns or 0, f"lost with its worker: {worker.lost}"
        for request_id in range(shard.first_id(0), end, shard.count):
            if request_id in ended:
                continue
            number, due_ns = request_id - warmup, at_ns
            if 0 <= number < len(due_s) and worker.begin_ns is not None:
                due_ns = worker.begin_ns + int(due_s[number] * 1e9)
            phase, prompt_id = "measure" if number >= 0 else "warmup", 0 if is_fixed else request_id - first_row_id
            yield Trace(request_id, phase, prompt_id, due_ns, ending="lost", error=why)


def _due_s(parameters: Mapping[str, JsonValue]) -> Sequence[float]:
    """Return when the measured requests are due in an open loop with a rate; nothing where the plan does not say it."""
    if parameters.get("rate") is None:
        return ()
    known = {field.name for field in fields(LoadPlan)}
    plan = LoadPlan(**{name: value for name, value in parameters.items() if name in known})  # type: ignore[arg-type]
    return plan.arrival_offsets()


def shifted(found: Trace | UnsentRequests, offset_ns: int) -> Trace | UnsentRequests:
    """Return the same requests with each instant earlier by this offset."""
    if isinstance(found, UnsentRequests):
        first = shifted(found.first, offset_ns)
        assert isinstance(first, Trace)
        return replace(found, first=first)
    return replace(
        found,
        scheduled_ns=found.scheduled_ns - offset_ns,
        sent_ns=None if found.sent_ns is None else found.sent_ns - offset_ns,
        done_ns=None if found.done_ns is None else found.done_ns - offset_ns,
        pieces=tuple((at - offset_ns, piece) for at, piece in found.pieces),
        not_before_ns=tuple(at - offset_ns for at in found.not_before_ns),
        beats=None if found.beats is None else tuple((due - offset_ns, late) for due, late in found.beats),
    )


def _has(shard: ShardTables) -> bool:
    return (shard.folder / "requests.parquet").exists()


def _shifted_table(shard: ShardTables, name: str) -> pa.Table:
    file = shard.folder / f"{name}.parquet"
    with reading(file, REBUILD):
        return _shift(pq.read_table(file, use_threads=False), name, shard.offset_ns)


def _shift(table: pa.Table, name: str, offset_ns: int) -> pa.Table:
    for column in INSTANTS[name]:
        at = table.schema.get_field_index(column)
        earlier = pc.subtract(table.column(at), pa.scalar(offset_ns, table.schema.field(at).type))
        table = table.set_column(at, table.schema.field(at), earlier)
    return table


def _with_shard(table: pa.Table, shard: "int | np.ndarray[tuple[int], np.dtype[np.int32]]") -> pa.Table:
    return table.append_column("shard", pa.array(np.broadcast_to(shard, table.num_rows).astype("int32")))


def _event_groups(shard: ShardTables) -> Iterator[pa.Table]:
    """Yield the events of a worker one row group at a time: there may be millions."""
    file = shard.folder / "events.parquet"
    with reading(file, REBUILD), pq.ParquetFile(file) as whole:
        for at in range(whole.num_row_groups):
            yield _shift(whole.read_row_group(at, use_threads=False), "events", shard.offset_ns)


def _pauses(shards: Sequence[ShardTables], name: str) -> pd.DataFrame:
    tables = [_with_shard(_shifted_table(shard, name), shard.index) for shard in shards if _has(shard)]
    frame: pd.DataFrame = pd.concat([table.to_pandas() for table in tables], ignore_index=True)
    return frame.sort_values([INSTANTS[name][0], "shard"], ignore_index=True)


def _refuse_duplicates(requests: pa.Table) -> None:
    ids = requests["request_id"].to_numpy()
    found, counts = np.unique(ids, return_counts=True)
    if (counts > 1).any():
        twice = int(found[counts > 1][0])
        both = sorted(requests.filter(pc.equal(requests["request_id"], twice))["shard"].to_pylist())
        raise UsageError(
            f"request {twice} has {len(both)} rows, of workers {', '.join(map(str, both))}: a request is sent once;"
            " restore the folders of the workers as they were written"
        )
