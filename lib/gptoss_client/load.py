"""Turn a plan into requests, and hand one trace of each to the caller: the closed loop."""
# MERGED: The connections of a load, opened before anything is timed, and the limit on open files that they meet.

import asyncio
import contextlib
import gc
import os
import ssl
import time
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import count

import httpx

from gptoss_client.client import CONNECT_TIMEOUT_S, Client, Request
from gptoss_client.errors import UsageError
from gptoss_client.event_loop import WakeUpQueue
from gptoss_client.plan import LoadPlan
from gptoss_client.requests import request_body
from gptoss_client.timestamps import WALL
from gptoss_client.trace import Endpoint, Trace

RecordTrace = Callable[[Trace], None]
Progress = Callable[[Trace], None]
OnPhase = Callable[[str], Awaitable[None]]


@dataclass(frozen=True, slots=True)
class LoadResult:
    """How a load ended. `reason` is None, or says why not all that was planned was sent.

    `clock_steps` is how often the wall clock was found to have been set meanwhile (see `clock.WallClock`).
    """

    reason: str | None
    clock_steps: int


async def _unmarked(phase: str) -> None:
    pass


@dataclass(slots=True)
class _Loop:
    """What the slots of one load share."""

    plan: LoadPlan
    endpoint: Endpoint
    keep: RecordTrace
    progress: Progress | None
    refused: int = 0  # connections refused in a row, over all slots
    last_ending: str = "complete"
    gone: bool = False  # the server stopped answering: nothing more is sent
    fixed_body: bytes | None = None
    disk_error: UsageError | None = None  # the disk refused: nothing more can be kept

    def record(self, trace: Trace) -> None:
        """Keep a trace. An error of the disk is held for the slots to raise, so that no trace raises it twice."""
        if self.disk_error is not None:
            return
        try:
            self.keep(trace)
        except UsageError as error:
            self.disk_error = error
            return
        if self.progress is not None:
            self.progress(trace)

    def body(self, prompt_id: int) -> bytes:
        """Made once where all requests send the same."""
        if self.plan.prompts == "distinct":
            return request_body(self.plan, self.endpoint, prompt_id)
        if self.fixed_body is None:
            self.fixed_body = request_body(self.plan, self.endpoint, 0)
        return self.fixed_body

    def prompt_id(self, request_id: int) -> int:
        return request_id if self.plan.prompts == "distinct" else 0


async def run_load(
    plan: LoadPlan,
    endpoint: Endpoint,
    record: RecordTrace,
    progress: Progress | None = None,
    *,
    first_id: int = 0,
    on_phase: OnPhase = _unmarked,
    phase: str = "measure",
) -> LoadResult:
    """Send what the plan says and give `record` every trace; `progress` sees each one after it was recorded.

    Requests are numbered from `first_id`, warm-up first. `on_phase` is awaited before the first request of "warmup"
    and of `phase` and after the last one ("end"), when nothing is in flight.

    Each planned request is recorded exactly once, also when this is cancelled. Raises UsageError where the engine does
    not know what the plan asks for; one that `record` raises (the disk refuses) ends the load and is passed on, once.
    """
    request_body(plan, endpoint, 0)  # a plan that this engine refuses fails here, before anything is sent
    loop = _Loop(plan, endpoint, record, progress)
    allow_connections(plan.concurrency)
    verify: ssl.SSLContext | bool = ssl.create_default_context() if endpoint.url.startswith("https") else False
    first = first_id + plan.warmup
    warmup: Iterator[int] = iter(range(first_id, first))
    measure: Iterator[int] = count(first) if plan.requests is None else iter(range(first, first + plan.requests))
    left, steps = 0, WALL.steps
    async with contextlib.AsyncExitStack() as stack:
        clients = [
            await stack.enter_async_context(
                Client(
                    endpoint,
                    timeout_s=plan.timeout_s,
                    first_timeout_s=plan.first_timeout_s,
                    idle_timeout_s=plan.idle_timeout_s,
                    verify=verify,
                )
            )
            for _ in range(plan.concurrency)
        ]
        try:
            with _collector_paused():
                if plan.warmup:
                    await on_phase("warmup")
                await connect_all(clients[: plan.warmup])
                await _phase(loop, clients, "warmup", warmup, None)
                await on_phase(phase)
                await connect_all(clients[: plan.requests])
                await _phase(loop, clients, phase, measure, plan.duration_s)
                await on_phase("end")
            # A server that dies near the end of the plan is refused too few times to be noticed on the way.
            loop.gone = loop.gone or (loop.last_ending in ("cut", "connect") and not await _listens(endpoint.url))
        finally:
            left += _record_unsent(loop, "warmup", warmup)
            if plan.requests is not None:
                left += _record_unsent(loop, phase, measure)
    reason = f"{endpoint.url} stopped answering; {left} planned requests were not sent" if loop.gone else None
    return LoadResult(reason, WALL.steps - steps)


async def _phase(loop: _Loop, clients: list[Client], phase: str, ids: Iterator[int], duration_s: float | None) -> None:
    """Run all slots until the ids are used up or the time is over. Raises UsageError where the disk refuses."""
    until_ns = None if duration_s is None else time.perf_counter_ns() + int(duration_s * 1e9)
    try:
        async with asyncio.TaskGroup() as slots:
            for client in clients:
                slots.create_task(_slot(loop, client, phase, ids, until_ns))
    except* UsageError as group:
        raise group.exceptions[0] from None


async def _slot(loop: _Loop, client: Client, phase: str, ids: Iterator[int], until_ns: int | None) -> None:
    """One slot of the closed loop: its next request is due the moment its last one has ended."""
    await WakeUpQueue.here().take()
    while not loop.gone:
        scheduled_ns = time.perf_counter_ns()
        if until_ns is not None and scheduled_ns >= until_ns:
            return
        request_id = next(ids, None)
        if request_id is None:
            return
        prompt_id = loop.prompt_id(request_id)
        ask = Request(request_id, phase, prompt_id, scheduled_ns, loop.body(prompt_id))
        trace = await client.ask(ask, loop.record)
        if loop.disk_error is not None:
            raise loop.disk_error
        loop.last_ending = trace.ending
        loop.refused = loop.refused + 1 if trace.ending == "connect" else 0
        loop.gone = loop.gone or loop.refused >= max(8, loop.plan.concurrency)


def _record_unsent(loop: _Loop, phase: str, ids: Iterator[int]) -> int:
    """A planned request that was never sent is a row as well: failed where the server went, cancelled where we did."""
    ending, error = "cancelled", "not sent: the load was stopped"
    if loop.gone:
        ending, error = "connect", "not sent: the server stopped answering"
    unsent = list(ids)
    for request_id in unsent:
        now_ns = time.perf_counter_ns()
        loop.record(Trace(request_id, phase, loop.prompt_id(request_id), now_ns, ending=ending, error=error))
    return len(unsent)


async def _listens(url: str) -> bool:
    """Whether anything accepts a connection there."""
    address = httpx.URL(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, port), CONNECT_TIMEOUT_S)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


@contextlib.contextmanager
def _collector_paused() -> Iterator[None]:
    """Keep Python's garbage collector out of the measured time; it is put back as it was."""
    was_enabled = gc.isenabled()
    gc.collect()
    gc.freeze()
    gc.disable()
    try:
        yield
    finally:
        gc.unfreeze()
        if was_enabled:
            gc.enable()


AT_ONCE = 64  # a server's queue of connections that it has not accepted yet is often no longer than 100
SPARE_FILES = 64  # what the run itself opens: its spool, its tables, a log


def allow_connections(count: int) -> None:
    """See to it that this process may hold so many connections; raises its own limit as far as the system lets it.

    Raises UsageError where that is not far enough.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = _open_files() + SPARE_FILES + count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    if hard not in (unlimited, -1) and hard < needed:
        raise UsageError(
            f"{count} connections need {needed} open files and this system allows {hard} (RLIMIT_NOFILE): "
            "lower the concurrency, or raise the hard limit with ulimit -Hn"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError) as error:
        raise UsageError(f"{count} connections need {needed} open files: raise the limit, ulimit -n") from error


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return SPARE_FILES


async def connect_all(clients: Sequence[Client]) -> None:
    """Open the connection of each client, some at a time. At the first one refused the rest is left to the requests."""
    waiting = iter(clients)
    refused = False

    async def connect_some() -> None:
        nonlocal refused
        for client in waiting:
            if refused or not await client.connect():
                refused = True
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(clients))):
            group.create_task(connect_some())
