"""Send one load with several worker processes: start them together, compare their clocks, and merge what they wrote.

A worker that is gone is not started again, because its requests would be sent twice. The others go on.
"""

import asyncio
import contextlib
import time
from collections.abc import Callable, Iterator, Sequence

from gptoss_bench import paths
from gptoss_bench.fleet import ClockOffset, Fleet, LoadEnd, WorkerJob, WorkerLink, clock_offset, worker_clock
from gptoss_bench.runs import (
    LoadSummary,
    Worker,
    WorkerProgress,
    read_sent_requests,
    shard_folder,
    write_worker_progress,
)
from gptoss_bench.session.evaluate import finish_interrupted, merge_and_evaluate
from gptoss_bench.session.fleet_progress import FleetProgress
from gptoss_bench.session.session import Session, failure_reason
from gptoss_client import LoadPlan, LoadShard, RunFailed, UsageError

POLL_S = 0.02
ASK_S = 1.0  # between two questions to each worker
SILENT_S = 30.0  # a worker that answers nothing for so long is gone
LEAD_S = 1.0  # from telling the workers when to begin to that time
STOP_S = 60.0  # a stopped worker may take so long to write its tables
PROCESS_ENDED = "its process ended"

ProgressCallback = Callable[[Sequence[WorkerProgress]], None]


def check_division(plan: LoadPlan, workers: int) -> None:
    """Raise UsageError unless so many workers can send the plan together."""
    if plan.sweep:
        raise UsageError("a sweep is sent by one process: give workers or sweep, not both")
    LoadShard(0, workers).check(plan)
    planned = plan.planned_requests()
    if planned is not None and planned < workers:
        raise UsageError(f"{workers} workers need a request each, not {planned} in all: use {planned} workers at most")


async def load_fleet(
    session: Session, plan: LoadPlan, fleet: Fleet, progress: ProgressCallback | None = None
) -> LoadSummary:
    """Send the plan with the workers of a fleet and return the summary of the whole load.

    Args:
        session: The run of the whole load; its server is loaded, and this process records its telemetry.
        plan: The undivided plan.
        fleet: Where the workers run. All of its processes have ended when this function returns.
        progress: Called about once a second with what each worker does, and at once when one is lost.

    Raises:
        UsageError: The plan cannot be divided, or a worker refuses it.
        RunFailed: The load is incomplete, for example because a worker was lost; completed requests are saved.
    """
    check_division(plan, fleet.count)
    plan = await session.with_prompts(plan)
    load = _FleetLoad(session, plan, fleet, progress)
    reason = ""
    try:
        with session.folder.counting_clock_steps():
            reason = await load.run()
    except BaseException as error:
        reason = failure_reason(error)
        await load.stop()
        raise
    finally:
        fleet.close()
        load.evaluate()
        if reason:
            session.end("incomplete", reason)
    if reason:
        raise RunFailed(f"run {session.folder.run_id} is incomplete: {reason}")
    return session.summary


class _FleetLoad:
    """One load of several workers: their links, and their records in the manifest."""

    def __init__(self, session: Session, plan: LoadPlan, fleet: Fleet, progress: ProgressCallback | None) -> None:
        self._session, self._plan, self._fleet, self._progress = session, plan, fleet, progress
        self._path = session.folder.path
        self._links: dict[int, WorkerLink] = {}
        self._before: dict[int, ClockOffset] = {}
        planned = plan.planned_requests()
        self._workers = [
            Worker(
                index=shard.index,
                slots=shard.share(plan.concurrency),
                requests=planned and shard.count_ids(plan.warmup, plan.warmup + planned),
            )
            for shard in (LoadShard(index, fleet.count) for index in range(fleet.count))
        ]
        session.manifest.workers = self._workers
        self._asked_s = 0.0
        self._seen = FleetProgress(plan, fleet.count)

    async def run(self) -> str:
        """Send the load and return why it is incomplete, "" if it is complete."""
        recorder = self._session.telemetry_recorder
        if self._plan.warmup:
            await recorder.load_phase("warmup", 0)
        for worker in self._workers:
            await self._start(worker.index)
        await self._until(lambda link: link.is_ready)
        self._refuse_missing()
        for index, link in self._links.items():
            self._before[index] = await _offset(link)
        await recorder.load_phase("measure", 0)
        begin_ns = time.perf_counter_ns() + int(LEAD_S * 1e9)
        for worker in self._workers:
            worker.begin_ns, worker.clock = begin_ns, worker_clock(self._before[worker.index], None)
        self._session.folder.write_manifest()
        for index, link in self._links.items():
            link.begin(begin_ns + self._before[index].offset_ns)
        await self._until(lambda link: link.is_loaded, watching=True)
        for worker, link in self._present():
            with contextlib.suppress(RunFailed):  # it has ended meanwhile
                worker.clock = worker_clock(self._before[worker.index], await _offset(link))
        self._show()
        await recorder.load_phase("end", sum(link.completed for link in self._links.values()))
        for link in self._links.values():
            link.finish()
        await self._until(lambda link: False)
        await self._collect()
        ends = [(worker, self._links[worker.index].ended) for worker in self._workers]
        return "; ".join(_why_incomplete(worker, end, len(ends)) for worker, end in ends if not _is_complete(end))

    async def stop(self) -> None:
        """Stop the workers; what had ended is kept."""
        for link in self._links.values():
            link.stop()
        deadline_s = time.monotonic() + STOP_S
        await self._until(lambda link: time.monotonic() > deadline_s)
        for worker, link in list(self._present()):
            if link.ended is None:
                self._lose(worker, f"it did not stop within {STOP_S:g} s")
        await self._collect()

    def evaluate(self) -> None:
        """Merge the tables of the workers, and give the session the summary and the findings of the whole load."""
        session = self._session
        if session.folder.is_gone():
            return
        session.summary.telemetry, session.summary.server_metrics = session.telemetry_recorder.reported()
        session.summary, session.findings = merge_and_evaluate(session.summary, self._path, session.manifest)
        session.requests = read_sent_requests(self._path).rows
        session.note_client()

    async def _start(self, index: int) -> None:
        session, place = self._session, shard_folder(self._path, index)
        self._links[index] = await asyncio.to_thread(self._fleet.start, index, place)
        results = session.folder.path.parents[1] if session.folder.path.parent.name == "runs" else paths.RESULTS
        self._links[index].send_job(
            WorkerJob(
                plan=self._plan,
                endpoint=session.endpoint,
                shard=LoadShard(index, self._fleet.count),
                folder=self._fleet.folder(index, place),
                results=self._fleet.results(index, results),
                scenario=session.manifest.scenario,
                run_id=session.folder.run_id,
                parameters=session.manifest.parameters,
            )
        )

    def _present(self) -> Iterator[tuple[Worker, WorkerLink]]:
        """Yield the workers that were not lost and have not ended."""
        for worker in self._workers:
            link = self._links.get(worker.index)
            if link is not None and worker.lost is None and link.ended is None:
                yield worker, link

    async def _until(self, reached: Callable[[WorkerLink], bool], *, watching: bool = False) -> None:
        """Wait until each worker has come so far, has ended, or is lost; `watching`, a silent one is lost too."""
        for link in self._links.values():
            link.heard_s = max(link.heard_s, time.monotonic())
        while True:
            waiting = False
            for worker, link in list(self._present()):
                if link.is_gone:
                    self._lose(worker, PROCESS_ENDED)
                elif watching and time.monotonic() - link.heard_s > SILENT_S:
                    self._lose(worker, f"it answered nothing for {SILENT_S:g} s")
                else:
                    waiting |= not reached(link)
            if not waiting:
                return
            if time.monotonic() - self._asked_s > ASK_S:
                self._asked_s = time.monotonic()
                self._show()
                for _, link in self._present() if watching else ():
                    link.ask()
            await asyncio.sleep(POLL_S)

    def _refuse_missing(self) -> None:
        """Raise UsageError or RunFailed if a worker ended before the load began."""
        for worker in self._workers:
            end = self._links[worker.index].ended
            if end is not None:
                raise (UsageError if end.status == "refused" else RunFailed)(f"worker {worker.index}: {end.message}")
            if worker.lost is not None:
                log = shard_folder(self._path, worker.index) / "worker.log"
                raise RunFailed(f"worker {worker.index} ended before the load began: read {log}")

    def _lose(self, worker: Worker, why: str) -> None:
        """Note that a worker is gone, and make sure that it sends nothing more."""
        worker.lost, worker.lost_ns = why, time.perf_counter_ns()
        self._show()
        self._fleet.kill(worker.index)
        self._links[worker.index].close()

    def _show(self) -> None:
        """Tell what each worker does: to who asked for it, and in the run folder."""
        found = [self._seen.of(worker, self._links.get(worker.index)) for worker in self._workers]
        write_worker_progress(self._path, found)
        if self._progress is not None:
            self._progress(found)

    async def _collect(self) -> None:
        """Bring the run folders of all workers here, and finish those of lost workers from what had ended."""
        for worker in self._workers:
            if worker.index not in self._links:
                continue
            place = shard_folder(self._path, worker.index)
            with contextlib.suppress(RunFailed):  # its host does not answer: all of its requests are lost
                await asyncio.to_thread(self._fleet.collect, worker.index, place)
            if worker.lost is not None and (place / "manifest.json").exists():
                finish_interrupted(place, f"the worker was lost: {worker.lost}")
            self._links[worker.index].close()


async def _offset(link: WorkerLink) -> ClockOffset:
    return clock_offset(await asyncio.to_thread(link.probe_clock))


def _is_complete(end: LoadEnd | None) -> bool:
    return end is not None and end.status == "complete"


def _why_incomplete(worker: Worker, end: LoadEnd | None, workers: int) -> str:
    if end is None:
        return f"worker {worker.index} of {workers} was lost: {worker.lost}"
    return f"worker {worker.index}: {end.message}"
