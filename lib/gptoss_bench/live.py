"""A run that is going on, followed from outside: what it has written so far, to what a live view shows.

The load writes each request to its folder as it ends. Here that is read and decoded, in another process than the one
that measures, so the load does nothing for its audience.
"""

import time
from itertools import islice
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench.live_html import Live, Point
from gptoss_bench.nvml import Gpus
from gptoss_bench.plan import Plan
from gptoss_bench.spool import spooled_since
from gptoss_bench.tables import derive
from gptoss_bench.trace import Trace

AT_ONCE = 400  # requests that one look decodes; what is beyond waits for the next
MOST_POINTS = 400  # that are kept; beyond it every second one goes


class Follower:
    """Follows the folder of one run; `look` twice a second."""

    def __init__(self, folder: Path, plan: Plan) -> None:
        """Nothing is read yet; the folder need not be there."""
        self._folder, self._plan = folder, plan
        self._offset = 0
        self._started_s = time.monotonic()
        self._first_ns: int | None = None  # when the first request of all was sent
        self._first_measured_ns: int | None = None
        self._points: list[Point] = []
        self._tokens: dict[int, int] = {}  # by whole seconds since the first request
        self._longest_s = 0.0
        self._done = self._failed = 0
        self._gpus = Gpus()

    def look(self) -> Live:
        """What is known now."""
        traces: list[Trace] = []
        for trace, offset in islice(spooled_since(self._folder, self._offset), AT_ONCE):
            traces.append(trace)
            self._offset = offset
        if traces:
            self._add(traces)
        return self._live()

    def _add(self, traces: list[Trace]) -> None:
        requests, chunks = derive(traces)
        sent = [trace.sent_ns for trace in traces if trace.sent_ns is not None]
        if self._first_ns is None and sent:
            self._first_ns = min(sent)
        first_measured = [t.sent_ns for t in traces if t.sent_ns is not None and t.phase == "measure"]
        if self._first_measured_ns is None and first_measured:
            self._first_measured_ns = min(first_measured)
        start_ns = self._first_ns or 0
        self._done += len(traces)
        self._failed += int((requests["outcome"] == "failed").sum())
        self._longest_s = max(self._longest_s, float(requests["done_s"].max(skipna=True) or 0.0))
        output = chunks[chunks["output"]]
        for second, tokens in _tokens_by_second(output, start_ns).items():
            self._tokens[second] = self._tokens.get(second, 0) + tokens
        gaps = output.groupby("request_id")["itl_s"].median()
        lags = output.groupby("request_id")["lag_ns"].max()
        for row in requests.itertuples():
            if pd.notna(row.done_ns):
                at_s = (int(row.done_ns) - start_ns) / 1e9
                lag_ns = lags.get(row.request_id)
                self._points.append(
                    Point(
                        at_s=at_s,
                        ttft_s=_number(row.ttft_s),
                        itl_s=_number(gaps.get(row.request_id)),
                        lag_s=None if lag_ns is None or pd.isna(lag_ns) else int(lag_ns) / 1e9,
                        failed=row.outcome == "failed",
                    )
                )
        while len(self._points) > MOST_POINTS:
            self._points = self._points[::2]

    def _live(self) -> Live:
        plan = self._plan
        total = None if plan.requests is None else plan.warmup + plan.requests
        now_ns = time.perf_counter_ns()
        elapsed_s = (now_ns - self._first_ns) / 1e9 if self._first_ns is not None else 0.0
        left = None if total is None else total - self._done
        in_flight = plan.concurrency if left is None else min(plan.concurrency, left)
        rate = self._done / elapsed_s if elapsed_s > 0 else None
        left_s: float | None = None
        if left is not None and rate:
            left_s = left / rate
        elif plan.duration_s is not None and self._first_measured_ns is not None:
            left_s = max(0.0, plan.duration_s - (now_ns - self._first_measured_ns) / 1e9)
        memory = [row["memory_used_bytes"] for row in self._gpus.sample(None)]
        return Live(
            done=self._done,
            total=total,
            failed=self._failed,
            in_flight=in_flight if (self._folder / "traces.jsonl").exists() else 0,
            waited_s=time.monotonic() - self._started_s,
            request_s=rate,
            left_s=left_s,
            points=tuple(self._points),
            tok_s=tuple(
                (float(second), float(tokens))
                for second, tokens in sorted(self._tokens.items())
                if second + 1 <= elapsed_s - self._longest_s
            )[-MOST_POINTS:],
            gpu_memory_bytes=sum(each for each in memory if each is not None) if any(memory) else None,
        )


def _tokens_by_second(output: pd.DataFrame, start_ns: int) -> dict[int, int]:
    """Tokens of output-bearing events by the second they arrived in; one an event where no count is known."""
    seconds = (output["arrival_ns"] - start_ns) // 1_000_000_000
    return {int(at): int(n) for at, n in output["tokens"].fillna(1).groupby(seconds).sum().items()}


def _number(value: Any) -> float | None:
    return None if value is None or pd.isna(value) else float(value)
