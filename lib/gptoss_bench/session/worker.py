"""Send one part of a load in its own process, which fleet/link.py controls by lines of JSON on stdin and stdout.

The first line is the job; the end of stdin (the coordinator has exited) stops the load. Completed requests are saved.
"""

import asyncio
import contextlib
import ctypes
import json
import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any, Self

from gptoss_bench.fleet import LoadEnd, WorkerJob, worker_job
from gptoss_bench.runs import RunFolder, Shard
from gptoss_bench.session.load_child import run_until_stopped
from gptoss_bench.session.session import Session, newest_calibration
from gptoss_bench.telemetry import TelemetryRecorder
from gptoss_client import JsonValue, RunFailed, Trace, UsageError, new_event_loop, tail_tokens

PR_SET_PDEATHSIG = 1
TAIL_PIECES, TAIL_BYTES = 8, 2048  # of a response, where its token count is
WITH_PARENT = "--end-with-parent"
ONCE = "sampled once for all workers, by the process that started them"


class Control:
    """What the coordinator asks for and is told. Only the thread of `listen` reads; it answers questions at once."""

    def __init__(self, reports: int) -> None:
        """Take the file descriptor of the reports."""
        self.ended_requests = self.failed_requests = 0
        self.tokens: int | None = None
        self._reports = reports
        self._begin: asyncio.Future[int] | None = None
        self._may_finish = asyncio.Event()

    async def begin(self) -> int:
        """Report that this worker is ready, and return when its load is to begin."""
        self._begin = asyncio.get_running_loop().create_future()
        self.report({"ready": True})
        return await self._begin

    async def finish(self, completed: int) -> None:
        """Report that the last request has ended, and wait until all workers are as far."""
        self.report({"loaded": completed})
        await self._may_finish.wait()

    def count(self, trace: Trace) -> None:
        """Count a request that has ended, and the tokens that its last bytes report; nothing else is decoded here."""
        self.ended_requests += 1
        is_whole = trace.ending == "complete" and trace.status == 200
        self.failed_requests += not is_whole and trace.ending != "cancelled"
        tail = b"".join(data for _, data in trace.pieces[-TAIL_PIECES:])[-TAIL_BYTES:]
        if (tokens := tail_tokens(tail)) is not None:
            self.tokens = (self.tokens or 0) + tokens

    def report(self, message: dict[str, Any]) -> None:
        """Write one line, whole: two threads report."""
        with contextlib.suppress(OSError):  # the coordinator has exited
            os.write(self._reports, json.dumps(message).encode() + b"\n")

    def listen(self, loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
        """Read lines until stdin ends; the end stops the load."""
        while line := sys.stdin.buffer.readline():
            received_ns = time.perf_counter_ns()
            message: dict[str, JsonValue] = json.loads(line)
            if "clock" in message:
                times = {"received_ns": received_ns, "answered_ns": time.perf_counter_ns()}
                counts = {name: getattr(self, name) for name in ("ended_requests", "failed_requests", "tokens")}
                self.report({"clock": message["clock"], **times, **counts})
                continue
            with contextlib.suppress(RuntimeError):  # the loop is closed: the load has ended
                loop.call_soon_threadsafe(self._take, message, stop)
        with contextlib.suppress(RuntimeError):
            loop.call_soon_threadsafe(stop)

    def _take(self, message: dict[str, JsonValue], stop: Callable[[], None]) -> None:
        at_ns = message.get("begin")
        if isinstance(at_ns, int) and self._begin is not None and not self._begin.done():
            self._begin.set_result(at_ns)
        if "finish" in message:
            self._may_finish.set()
        if "stop" in message:
            stop()


class WorkerRecorder(TelemetryRecorder):
    """Sample nothing, because the coordinator does; tell it when the last request has ended."""

    control: Control

    @classmethod
    def of(cls, folder: RunFolder, control: Control) -> Self:
        """Return the recorder of a worker's run."""
        recorder = cls.unsampled(folder, ONCE)
        recorder.control = control
        return recorder

    async def load_phase(self, name: str, completed: int) -> None:
        """At the end of the load, wait for the other workers."""
        if name == "end":
            await self.control.finish(completed)

    def write_tables(self) -> None:
        """Write nothing: there are no samples."""


async def _measure(job: WorkerJob, control: Control) -> None:
    results, folder = Path(job.results), Path(job.folder)
    own = RunFolder.create(
        results, job.scenario, parameters=_own_parameters(job), run_id=job.run_id, command=None, path=folder
    )
    try:
        own.manifest.shard = Shard(index=job.shard.index, count=job.shard.count)
        own.set_endpoint(job.endpoint)
        own.manifest.calibration = newest_calibration(results, own.manifest.machine)
        session = Session(own, job.endpoint, WorkerRecorder.of(own, control))
        await session.load(job.plan, control.count, shard=job.shard, begin=control.begin)
        session.finish()
    except RunFailed:
        raise
    except BaseException as error:
        own.abandon(f"{type(error).__name__}: {error}")
        raise


def _own_parameters(job: WorkerJob) -> dict[str, JsonValue]:
    """Return the parameters of the whole load with the slots and the numbers of requests of this part."""
    plan, shard = job.plan, job.shard
    own: dict[str, JsonValue] = {
        "concurrency": shard.share(plan.concurrency),
        "warmup": shard.count_ids(0, plan.warmup),
        "requests": plan.requests and shard.count_ids(plan.warmup, plan.warmup + plan.requests),
    }
    return job.parameters | own


def _end_with_parent() -> None:
    """Let the system kill this process when its parent dies: its stdin is then a socket, which does not tell."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGKILL)


def main() -> int:
    """Do the job on stdin and return 0 if the load is complete, else 1."""
    if WITH_PARENT in sys.argv:
        _end_with_parent()
    reports = os.dup(1)
    os.dup2(2, 1)  # what a library prints is no report
    control = Control(reports)
    try:
        job = worker_job(sys.stdin.buffer.readline().decode())
    except UsageError as error:  # such as a file of the plan that is not on this machine
        control.report({"ended": asdict(LoadEnd("refused", str(error)))})
        return 1
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        end = runner.run(run_until_stopped(_measure(job, control), control.listen, Path(job.folder)))
    control.report({"ended": asdict(end)})
    return 0 if end.status == "complete" else 1


if __name__ == "__main__":
    # The thread may still block on stdin; a normal exit of Python would wait for the lock that it holds.
    code = main()
    sys.stderr.flush()
    os._exit(code)
