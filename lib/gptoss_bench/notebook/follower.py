"""Read the folder of a run in progress and return the numbers of its live view.

The load writes each request to its folder when it ends. Reading and decoding happen here, in another process than the
load, so that the live view does not disturb the measurement.
"""

import time
from collections import Counter
from itertools import accumulate, islice
from pathlib import Path

import pandas as pd

from gptoss_bench.notebook.live_view import LivePoint, LiveView, Snapshot
from gptoss_bench.runs import Run, WorkerProgress, derive_tables, read_spool_from, read_worker_progress, shard_folder
from gptoss_bench.stats import sweep_plans
from gptoss_bench.telemetry import Gpus
from gptoss_client import NS_PER_S, LoadPlan, Trace, UsageError

POLL_S = 0.5
MAX_REQUESTS_PER_POLL = 400  # the next poll decodes the rest
MAX_POINTS = 400  # above it every second point is dropped
STEP_S = 0.25  # resolution of the curve of requests in flight


class RunFollower:
    """Follow the folder of one run: call `poll` every POLL_S, and `final_view` at the end."""

    def __init__(self, folder: Path, plan: LoadPlan) -> None:
        # The folder may not exist yet.
        self._folder, self._plan = folder, plan
        self._planned = plan.planned_requests()
        self._offsets = Counter[Path]()  # by folder: that of the run, and those of its workers on this machine
        self._workers: tuple[WorkerProgress, ...] = ()
        self._read_ids = set[int]()
        self._first_ns: int | None = None  # when the first request of all was sent
        self._first_measured_ns: int | None = None
        self._points: list[LivePoint] = []
        self._snapshots: list[Snapshot] = []
        self._tokens: dict[int, int] = {}  # by whole seconds since the first request
        self._in_flight_changes: dict[int, float] = {}  # by steps of STEP_S since the first request
        self._longest_s = 0.0
        self._done = self._failed = 0
        self._gpus = Gpus()

    def poll(self) -> LiveView:
        """Read the requests that ended since the last call; return the live view."""
        traces: list[Trace] = []
        self._workers = tuple(read_worker_progress(self._folder))
        for folder in (self._folder, *(shard_folder(self._folder, worker.index) for worker in self._workers)):
            try:
                rest = MAX_REQUESTS_PER_POLL - len(traces)
                for trace, offset in islice(read_spool_from(folder, self._offsets[folder]), rest):
                    traces.append(trace)
                    self._offsets[folder] = offset
            except (OSError, UsageError):
                pass  # traces.jsonl was removed: the run is being finished, and `final_view` reads its tables
        if traces:
            self._add(*derive_tables(traces))
        return self._view(time.perf_counter_ns())

    def final_view(self, run: Run) -> LiveView:
        """Read the remaining requests of a finished run from its tables; return the last view."""
        rest, events = run.requests[~run.requests["request_id"].isin(self._read_ids)], run.events
        self._workers = ()
        self._add(rest, events[events["request_id"].isin(rest["request_id"])])
        done_ns = run.requests["done_ns"].dropna()
        return self._view(int(done_ns.max()) if len(done_ns) else time.perf_counter_ns(), whole=True)

    def _add(self, requests: pd.DataFrame, events: pd.DataFrame) -> None:
        sent = requests[requests["sent_ns"].notna()]  # a stopped load lists requests that were never sent
        measured = sent[sent["phase"] == "measure"]
        if self._first_ns is None and len(sent):
            self._first_ns = int(sent["sent_ns"].min())
        if self._first_measured_ns is None and len(measured):
            self._first_measured_ns = int(measured["sent_ns"].min())
        start_ns = self._first_ns or 0
        self._read_ids.update(requests["request_id"])
        self._done += int(((sent["outcome"] != "cancelled") & (sent["phase"] != "cold")).sum())  # none is planned
        self._failed += int((requests["outcome"] == "failed").sum())
        self._longest_s = max(self._longest_s, float(sent["done_s"].max(skipna=True) or 0.0))
        for step, change in _in_flight_changes(sent, start_ns).items():
            self._in_flight_changes[step] = self._in_flight_changes.get(step, 0.0) + change
        output = events[events["output"]]
        for second, tokens in _tokens_by_second(output, start_ns).items():
            self._tokens[second] = self._tokens.get(second, 0) + tokens
        by_request = output.groupby("request_id")
        rows = pd.DataFrame(
            {
                "at_s": (requests["done_ns"].astype("float64") - start_ns) / 1e9,
                "ttft_s": requests["ttft_s"],
                "itl_s": requests["request_id"].map(by_request["itl_s"].median()),
                "lag_s": requests["request_id"].map(by_request["lag_ns"].max().astype("float64")) / 1e9,
            }
        )
        rows = rows[rows["at_s"].notna()].astype(object)
        self._points += [LivePoint(*values) for values in rows.where(rows.notna(), None).itertuples(index=False)]
        while len(self._points) > MAX_POINTS:
            self._points = self._points[::2]

    def _view(self, now_ns: int, *, whole: bool = False) -> LiveView:
        plan = self._plan
        levels = sum(level.requests or 0 for level in sweep_plans(plan))
        total = None if self._planned is None else plan.warmup + self._planned + levels
        elapsed_s = (now_ns - self._first_ns) / 1e9 if self._first_ns is not None else 0.0
        done = max(self._done, sum(worker.ended for worker in self._workers))  # none is read of another machine
        left = None if total is None else total - done
        share = done / total if total else None
        if total is None and plan.duration_s is not None and self._first_measured_ns is not None:
            share = min(1.0, (now_ns - self._first_measured_ns) / NS_PER_S / plan.duration_s)
        running = not whole and (self._folder / "traces.jsonl").exists()
        if running and self._first_ns is not None:
            self._snapshots.append(Snapshot(elapsed_s, self._failed, self._gpus.memory_used_bytes()))
            if len(self._snapshots) > MAX_POINTS:
                self._snapshots = self._snapshots[::2]
        # A request that is not listed yet may have started as early as the longest request so far took.
        known_s = elapsed_s if whole else elapsed_s - self._longest_s
        over_time = self._in_flight_over_time(known_s)[-MAX_POINTS:]
        if self._workers:
            in_flight = sum(worker.in_flight for worker in self._workers)
        elif left is None or plan.is_open:  # a search for the capacity has more than one level
            in_flight = round(over_time[-1][1]) if over_time else 0
        else:
            in_flight = min(plan.concurrency, left)
        return LiveView(
            done=done,
            total=total,
            share=share,
            failed=max(self._failed, sum(worker.failed for worker in self._workers)),
            in_flight=in_flight if running else 0,
            request_s=done / elapsed_s if elapsed_s > 0 else None,
            points=tuple(self._points),
            tok_s=tuple(
                (float(second), float(tokens))
                for second, tokens in sorted(self._tokens.items())
                if second + 1 <= known_s
            )[-MAX_POINTS:],
            in_flight_over_time=over_time,
            snapshots=tuple(self._snapshots),
            workers=self._workers,
            beside=" and ".join(["warm-up"] * bool(plan.warmup) + ["sweep"] * bool(plan.sweep)),
        )

    def _in_flight_over_time(self, known_s: float) -> tuple[tuple[float, float], ...]:
        """Return (start of the step in seconds, mean number of requests in flight) up to `known_s`."""
        steps = range(min(int(known_s / STEP_S), max(self._in_flight_changes, default=0)))
        means = accumulate(self._in_flight_changes.get(step, 0.0) for step in steps)
        return tuple((step * STEP_S, round(mean, 6)) for step, mean in zip(steps, means, strict=True))


def _in_flight_changes(sent: pd.DataFrame, start_ns: int) -> dict[int, float]:
    """Return by step the change of the mean number of requests in flight from the step before."""
    ended = sent[sent["done_ns"].notna()]
    found: dict[int, float] = {}
    for column, change in (("sent_ns", 1), ("done_ns", -1)):
        for at in (ended[column].astype("int64") - start_ns) / (STEP_S * 1e9):
            step = int(at // 1)
            share = step + 1 - at  # of this step, after the change
            found[step] = found.get(step, 0.0) + change * share
            found[step + 1] = found.get(step + 1, 0.0) + change * (1 - share)
    return found


def _tokens_by_second(output: pd.DataFrame, start_ns: int) -> dict[int, int]:
    """Return the tokens of output-bearing events by second of arrival; an event without a count is one token."""
    seconds = (output["arrival_ns"] - start_ns) // 1_000_000_000
    found = output["tokens"].fillna(1).groupby(seconds).sum()
    return dict(zip(found.index.astype(int).to_list(), found.astype(int).to_list(), strict=True))
