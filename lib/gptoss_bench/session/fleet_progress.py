"""Say what each worker of a load does now, from its last answer and the plan."""

import time
from bisect import bisect_right
from collections import deque

from gptoss_bench.fleet import WorkerLink
from gptoss_bench.runs import Worker, WorkerProgress
from gptoss_client import NS_PER_S, LoadPlan, LoadShard

ANSWERS = 11  # of a worker, about one a second, over which its rate is shown
SENDING = "sending"


class FleetProgress:
    """What the workers of one load do: call `of` for each about once a second."""

    def __init__(self, plan: LoadPlan, count: int) -> None:
        """Take the undivided plan and the number of workers."""
        self._plan = plan
        self._shards = [LoadShard(index, count) for index in range(count)]
        due_s = plan.arrival_offsets() if plan.is_open else ()
        self._due_s = [due_s[shard.first_id(plan.warmup) - plan.warmup :: count] for shard in self._shards]
        self._tokens = [deque[tuple[float, int]](maxlen=ANSWERS) for _ in self._shards]

    def of(self, worker: Worker, link: WorkerLink | None) -> WorkerProgress:
        """Return what a worker does; `link` is None before its process is started."""
        warmup = self._shards[worker.index].count_ids(0, self._plan.warmup)
        planned = None if worker.requests is None else warmup + worker.requests
        ended, state = link.ended_requests if link else 0, _state(worker, link)
        return WorkerProgress(
            index=worker.index,
            state=state,
            gone=worker.lost is not None,
            requests=planned,
            ended=ended,
            failed=link.failed_requests if link else 0,
            in_flight=self._in_flight(worker, warmup, planned, ended) if state == SENDING else 0,
            tok_s=self._tok_s(worker.index, link) if link else None,
            heard_s=link.heard_s if link else time.monotonic(),
        )

    def _in_flight(self, worker: Worker, warmup: int, planned: int | None, ended: int) -> int:
        """Return how many requests are on their way: those that are begun by the plan and have not ended."""
        shard, begun, slots = self._shards[worker.index], planned, worker.slots
        if self._plan.is_open and worker.begin_ns is not None:
            since_s = (time.perf_counter_ns() - worker.begin_ns) / NS_PER_S
            begun = warmup + bisect_right(self._due_s[worker.index], since_s)
            slots = shard.share(self._plan.max_in_flight)
        return slots if begun is None else max(0, min(slots, begun - ended))

    def _tok_s(self, index: int, link: WorkerLink) -> float | None:
        seen = self._tokens[index]
        if link.tokens is not None and (not seen or seen[-1][0] != link.heard_s):
            seen.append((link.heard_s, link.tokens))
        if len(seen) < 2:
            return None
        (from_s, before), (to_s, after) = seen[0], seen[-1]
        return (after - before) / (to_s - from_s)


def _state(worker: Worker, link: WorkerLink | None) -> str:
    if worker.lost is not None:
        return f"lost: {worker.lost}"
    if link is None or not link.is_ready:
        return "starting"
    return "done" if link.is_loaded or link.ended else SENDING if worker.begin_ns is not None else "ready"
