"""Find the times at which the client stood still: late heartbeats of its event loop, and late reads."""

from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.files import reading
from gptoss_client import Trace

STALL_NS = 20_000_000  # a heartbeat, or a read after its kernel timestamp, that is later than this is a stall
FILES = ("stalls", "heartbeats")

Intervals = list[tuple[int, int]]


@dataclass(frozen=True, slots=True)
class Pauses:
    """`stalls` has `from_ns`, `to_ns` and `in_flight` (requests in flight meanwhile), none overlapping.

    `heartbeats` has `due_ns` and `late_ns`: how much later than due the event loop handled each of its heartbeats.
    """

    stalls: pd.DataFrame
    heartbeats: pd.DataFrame


class PauseFinder:
    """Collect what the traces of a run tell about pauses, batch by batch."""

    def __init__(self) -> None:
        self._known = False
        self._due_ns, self._late_ns = array("q"), array("q")
        self._late_reads: Intervals = []

    def add(self, traces: Iterable[Trace]) -> None:
        """Add the heartbeats and the late reads of these traces."""
        for trace in traces:
            self._known |= trace.beats is not None or bool(trace.not_before_ns and trace.lags_ns)
            for due_ns, late_ns in trace.beats or ():
                self._due_ns.append(due_ns)
                self._late_ns.append(late_ns)
            if max(trace.lags_ns, default=0) > STALL_NS:
                self._late_reads += [
                    (arrival_ns, arrival_ns + lag_ns)
                    for (arrival_ns, _), lag_ns in zip(trace.pieces, trace.lags_ns, strict=True)
                    if lag_ns > STALL_NS
                ]
        self._late_reads = list(_merged(self._late_reads))

    def pauses(self, sent_ns: Sequence[int], done_ns: Sequence[int]) -> Pauses | None:
        """Return the pauses during requests that were in flight at these times; None if the traces do not know."""
        if not self._known:
            return None
        beats = pd.DataFrame({"due_ns": np.array(self._due_ns), "late_ns": np.array(self._late_ns)})
        late = beats[beats["late_ns"] > STALL_NS]
        late_beats = zip(late["due_ns"].tolist(), (late["due_ns"] + late["late_ns"]).tolist(), strict=True)
        stalls = np.array(list(_merged([*late_beats, *self._late_reads])), dtype="int64").reshape(-1, 2)
        in_flight = _earlier(sent_ns, stalls[:, 1]) - _earlier(done_ns, stalls[:, 0])
        found = pd.DataFrame({"from_ns": stalls[:, 0], "to_ns": stalls[:, 1], "in_flight": in_flight})
        return Pauses(found, beats.sort_values("due_ns", ignore_index=True))


def read_pauses(folder: Path) -> Pauses | None:
    """Return the pauses of a run folder, None if they are unknown."""
    files = [folder / f"{name}.parquet" for name in FILES]
    if not all(file.exists() for file in files):
        return None
    frames = []
    for file in files:
        with reading(file):
            frames.append(pd.read_parquet(file))
    return Pauses(*frames)


def _merged(intervals: Intervals) -> Iterator[tuple[int, int]]:
    """Yield the union of intervals, in order."""
    last: tuple[int, int] | None = None
    for begin, end in sorted(intervals):
        if last is not None and begin <= last[1]:
            last = last[0], max(last[1], end)
            continue
        if last is not None:
            yield last
        last = begin, end
    if last is not None:
        yield last


def _earlier(times_ns: Sequence[int], than_ns: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return how many of the times are before each of the others."""
    return np.searchsorted(np.sort(np.asarray(times_ns, dtype="int64")), than_ns)
