"""A run that is going on, followed from outside: what it has written so far, to what a live view shows.

The load writes each request to its folder as it ends. Here that is read and decoded, in another process than the one
that measures, so the load does nothing for its audience.
"""

import time
from dataclasses import replace
from itertools import accumulate, islice
from pathlib import Path

import pandas as pd

from gptoss_bench.notebook.live_view import LivePoint, LiveView, Snapshot
from gptoss_bench.runs import Run, derive_tables, spooled_since
from gptoss_bench.stats import level_plans
from gptoss_bench.telemetry import Gpus
from gptoss_client import LoadPlan, Trace

AT_ONCE = 400  # requests that one look decodes; what is beyond waits for the next
MOST_POINTS = 400  # that are kept; beyond it every second one goes
STEP_S = 0.25  # of the curve of requests in flight


class Follower:
    """Follows the folder of one run; `look` twice a second."""

    def __init__(self, folder: Path, plan: LoadPlan) -> None:
        """Nothing is read yet; the folder need not be there."""
        self._folder, self._plan = folder, plan
        self._offset = 0
        self._started_s = time.monotonic()
        self._first_ns: int | None = None  # when the first request of all was sent
        self._first_measured_ns: int | None = None
        self._points: list[LivePoint] = []
        self._looks: list[Snapshot] = []
        self._tokens: dict[int, int] = {}  # by whole seconds since the first request
        self._more_in_flight: dict[int, float] = {}  # than before, by steps of STEP_S since the first request
        self._longest_s = 0.0
        self._listed = self._done = self._failed = 0
        self._gpus = Gpus()

    def look(self) -> LiveView:
        """What is known now. Of a run that is being finished, what was known last: see `end`."""
        traces: list[Trace] = []
        try:
            for trace, offset in islice(spooled_since(self._folder, self._offset), AT_ONCE):
                traces.append(trace)
                self._offset = offset
        except OSError:
            pass  # the list is gone: the run is being finished
        if traces:
            self._add(*derive_tables(traces))
        return self._live(time.perf_counter_ns())

    def end(self, run: Run) -> LiveView:
        """The whole of a run that has ended: what had not been seen is read from its tables."""
        rest, events = run.requests.iloc[self._listed :], run.events
        self._add(rest, events[events["request_id"].isin(rest["request_id"])])
        done_ns = run.requests["done_ns"].dropna()
        last = self._live(int(done_ns.max()) if len(done_ns) else time.perf_counter_ns(), whole=True)
        return replace(last, left_s=None)

    def _add(self, requests: pd.DataFrame, events: pd.DataFrame) -> None:
        sent = requests[requests["sent_ns"].notna()]  # a request that a stopped load never sent did not end
        measured = sent[sent["phase"] == "measure"]
        if self._first_ns is None and len(sent):
            self._first_ns = int(sent["sent_ns"].min())
        if self._first_measured_ns is None and len(measured):
            self._first_measured_ns = int(measured["sent_ns"].min())
        start_ns = self._first_ns or 0
        self._listed += len(requests)
        self._done += int((sent["outcome"] != "cancelled").sum())
        self._failed += int((requests["outcome"] == "failed").sum())
        self._longest_s = max(self._longest_s, float(sent["done_s"].max(skipna=True) or 0.0))
        for step, more in _changes(sent, start_ns).items():
            self._more_in_flight[step] = self._more_in_flight.get(step, 0.0) + more
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
        while len(self._points) > MOST_POINTS:
            self._points = self._points[::2]

    def _live(self, now_ns: int, *, whole: bool = False) -> LiveView:
        plan = self._plan
        levels = sum(level.requests or 0 for level in level_plans(plan))
        total = None if plan.requests is None else plan.warmup + plan.requests + levels
        elapsed_s = (now_ns - self._first_ns) / 1e9 if self._first_ns is not None else 0.0
        left = None if total is None else total - self._done
        rate = self._done / elapsed_s if elapsed_s > 0 else None
        left_s: float | None = None
        share = self._done / total if total else 0.0
        if left is not None and rate:
            left_s = left / rate
        elif plan.duration_s is not None and self._first_measured_ns is not None:
            measured_s = (now_ns - self._first_measured_ns) / 1e9
            left_s, share = max(0.0, plan.duration_s - measured_s), min(1.0, measured_s / plan.duration_s)
        memory = [row["memory_used_bytes"] or 0 for row in self._gpus.sample(None)]
        going = not whole and (self._folder / "traces.jsonl").exists()
        if going and self._first_ns is not None:
            self._looks.append(Snapshot(elapsed_s, self._failed, sum(memory) or None))
            if len(self._looks) > MOST_POINTS:
                self._looks = self._looks[::2]
        # A request that is not listed yet may have begun as long ago as the longest so far took.
        known_s = elapsed_s if whole else elapsed_s - self._longest_s
        in_flight = plan.concurrency if left is None else min(plan.concurrency, left)
        return LiveView(
            done=self._done,
            total=total,
            share=share,
            failed=self._failed,
            in_flight=in_flight if going else 0,
            waited_s=time.monotonic() - self._started_s,
            request_s=rate,
            left_s=left_s,
            points=tuple(self._points),
            tok_s=tuple(
                (float(second), float(tokens))
                for second, tokens in sorted(self._tokens.items())
                if second + 1 <= known_s
            )[-MOST_POINTS:],
            flights=self._flights(known_s)[-MOST_POINTS:],
            looks=tuple(self._looks),
        )

    def _flights(self, known_s: float) -> tuple[tuple[float, float], ...]:
        """The mean number of requests in flight over each step of time that is over by then."""
        steps = range(min(int(known_s / STEP_S), max(self._more_in_flight, default=0)))
        means = accumulate(self._more_in_flight.get(step, 0.0) for step in steps)
        return tuple((step * STEP_S, round(mean, 6)) for step, mean in zip(steps, means, strict=True))


def _changes(sent: pd.DataFrame, start_ns: int) -> dict[int, float]:
    """By step of time: how many more requests were in flight, on average over the step, than over the step before."""
    over = sent[sent["done_ns"].notna()]
    found: dict[int, float] = {}
    for column, more in (("sent_ns", 1), ("done_ns", -1)):
        for at in (over[column].astype("int64") - start_ns) / (STEP_S * 1e9):
            step = int(at // 1)
            counts = step + 1 - at  # of this step, the share in which it counts
            found[step] = found.get(step, 0.0) + more * counts
            found[step + 1] = found.get(step + 1, 0.0) + more * (1 - counts)
    return found


def _tokens_by_second(output: pd.DataFrame, start_ns: int) -> dict[int, int]:
    """Tokens of output-bearing events by the second they arrived in; one an event where no count is known."""
    seconds = (output["arrival_ns"] - start_ns) // 1_000_000_000
    found = output["tokens"].fillna(1).groupby(seconds).sum()
    return dict(zip(found.index.astype(int).to_list(), found.astype(int).to_list(), strict=True))
