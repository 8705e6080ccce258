"""Run a load plan against an endpoint and pass one trace per planned request to a callback."""

import asyncio
import contextlib
import gc
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import islice

import httpx

from gptoss_client.client import Client, TraceCallback
from gptoss_client.conversation import Conversation, Conversations
from gptoss_client.errors import UsageError
from gptoss_client.event_loop import AlarmClock, WakeUpQueue
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import max_tokens_of, prompt_count
from gptoss_client.request_bodies import Request, request_body
from gptoss_client.shard import WHOLE_LOAD, LoadShard
from gptoss_client.tls import tls_context
from gptoss_client.trace import Ending, Endpoint, Trace, UnsentRequests

# A request of an open loop is prepared this long before it is due, or for this share of the mean gap if that is less,
# and held until then: from the timer to its first byte it takes about as long.
LEAD_NS, LEAD_SHARE = 120_000, 0.05
COARSE_NS = 5_000_000  # before the end of a think time a timer of asyncio, which may be late, gives way to a timerfd
CONNECT_BATCH = 64  # connections opened at a time: a server's accept queue often has only about 100 places
SPARE_FILES = 64  # open files that the process needs besides its connections: raw data, tables, a log

PhaseCallback = Callable[[str], Awaitable[None]]
UnsentCallback = Callable[[UnsentRequests], None]
BeginCallback = Callable[[], Awaitable[int]]
SendCallback = Callable[[Request], Awaitable[Trace]]


async def run_load(
    plan: LoadPlan,
    endpoint: Endpoint,
    record: TraceCallback,
    progress: TraceCallback | None = None,
    *,
    first_id: int = 0,
    on_phase: PhaseCallback | None = None,
    phase: str = "measure",
    record_unsent: UnsentCallback | None = None,
    shard: LoadShard = WHOLE_LOAD,
    begin: BeginCallback | None = None,
) -> str | None:
    """Send the requests of a plan; call `record` with the trace of each planned request exactly once.

    Return why not all planned requests were sent, None if all were. A cancelled load also records each of them.

    Args:
        plan: what is sent and when.
        endpoint: the server.
        record: keeps a trace. If it raises UsageError (the disk is full), the load ends and raises it, once.
        progress: called with the trace of each request that was sent, and of each turn, after it was recorded.
        first_id: number of the first request; warm-up requests are numbered first.
        on_phase: awaited, while no request is in flight, with "warmup" and `phase` before their first request, and
            with "end" after the last one.
        phase: name of the measured phase.
        record_unsent: keeps the requests that were never sent, up to once a phase; None: each goes to `record`, as
            turns of conversations always do.
        shard: the part of the load that this process sends.
        begin: awaited when the connections of the measured phase are open; returns when the phase begins (ns of
            `time.perf_counter_ns`). None: at once.

    Raises:
        UsageError: the engine does not support what the plan asks for, the system allows too few open files, or one of
            several processes is to hold conversations.
    """
    request_body(plan, endpoint, 0)  # raises for a plan that this engine refuses, before anything is sent
    load = _Load(plan, endpoint, record, record_unsent, progress, prompts=prompt_count(plan))
    offsets_s = plan.arrival_offsets() if plan.is_open else None
    limit = shard.share(plan.max_in_flight if plan.is_open else plan.concurrency)
    shard.check(plan)
    raise_open_file_limit(limit)
    verify = tls_context(endpoint.url)
    first = first_id + plan.warmup
    if load.prompts is not None and phase == "measure":  # levels of a sweep go on in the file
        load.first_row_id = first - load.prompts * math.ceil(plan.warmup / load.prompts)
    planned = plan.planned_requests()
    warmup = RequestIds(shard.first_id(first_id), first, shard.count)
    measure: RequestIds | Conversations
    measure = RequestIds(shard.first_id(first), None if planned is None else first + planned, shard.count)
    if plan.turns is not None:
        load.first_row_id = first
        turns = islice(plan.conversation_turns(), None if offsets_s is None else len(offsets_s))
        measure = Conversations(plan, endpoint, phase, turns, planned is not None, first)
    slots = min(shard.share(plan.concurrency), limit)
    unsent = 0
    async with contextlib.AsyncExitStack() as stack:
        clients = [await stack.enter_async_context(Client(endpoint, plan, verify=verify)) for _ in range(slots)]
        try:
            with _garbage_collection_paused():
                if plan.warmup and on_phase:
                    await on_phase("warmup")
                await connect_all(clients[: warmup.left])
                await _run_phase(load, clients, "warmup", warmup, None, begin_ns=time.perf_counter_ns())
                if on_phase:
                    await on_phase(phase)
                await connect_all(clients if planned is None else clients[: shard.count_ids(first, first + planned)])
                begin_ns = time.perf_counter_ns() if begin is None else await begin()
                if offsets_s is None:
                    await _run_phase(load, clients, phase, measure, plan.duration_s, begin_ns=begin_ns)
                else:
                    pool = _ClientPool(lambda: Client(endpoint, plan, verify=verify), limit, clients)
                    stack.push_async_callback(pool.aclose)
                    own_s = offsets_s[measure.next_id - first :: shard.count]
                    await _run_open_phase(load, pool, phase, measure, own_s, begin_ns=begin_ns)
                if on_phase:
                    await on_phase("end")
            # A server that stops near the end of the plan refuses too few connections to be noticed by the slots.
            if load.last_ending in ("cut", "connect") and not load.server_gone:
                load.server_gone = not await _accepts_connections(endpoint.url, plan.connect_timeout_s)
        finally:
            for name, ids in (("warmup", warmup), (phase, measure)):
                unsent += _record_unsent(load, name, ids)
    return f"{endpoint.url} stopped answering; {unsent} planned requests were not sent" if load.server_gone else None


@dataclass(slots=True)
class RequestIds:
    """The ids of a phase that were not taken yet: each `step`-th from `next_id` up to `end`, or without end."""

    next_id: int
    end: int | None
    step: int = 1

    @property
    def left(self) -> int:
        """Return how many planned ids were not taken, 0 for a phase without end."""
        return 0 if self.end is None else len(range(self.next_id, self.end, self.step))

    def take(self) -> int | None:
        """Return the next id, None if there is none."""
        if self.end is not None and self.next_id >= self.end:
            return None
        self.next_id += self.step
        return self.next_id - self.step


@dataclass(slots=True)
class _Load:
    """The state that the slots of one load share."""

    plan: LoadPlan
    endpoint: Endpoint
    keep: TraceCallback
    keep_unsent: UnsentCallback | None
    progress: TraceCallback | None
    prompts: int | None  # number of different ones; None: each request has its own
    first_row_id: int = 0  # id of a request that has the first row of a file of prompts
    refused_in_a_row: int = 0  # refused connections, over all slots
    last_ending: str = "complete"
    server_gone: bool = False  # nothing more is sent
    fixed_body: bytes | None = None
    unsent_turns: int = 0  # because the server is gone or the load was stopped
    record_error: UsageError | None = None  # nothing more can be recorded
    gone: asyncio.Event = field(default_factory=asyncio.Event)  # set with server_gone, for those who wait

    def record(self, trace: Trace) -> None:
        """Record a trace; keep an error for the slots to raise, so that it is raised once."""
        if self.record_error is not None:
            return
        try:
            self.keep(trace)
        except UsageError as error:
            self.record_error = error
            return
        if self.progress is not None:
            self.progress(trace)

    def record_turns(self, unsent: Iterable[Trace]) -> None:
        """Record turns that were not sent."""
        for trace in unsent:
            self.record(trace)
            self.unsent_turns += trace.ending in ("connect", "cancelled")

    def record_unsent(self, unsent: UnsentRequests) -> None:
        """Record requests that were never sent, at once or one by one; keep an error as `record` does."""
        if self.record_error is not None:
            return
        try:
            if self.keep_unsent is not None:
                self.keep_unsent(unsent)
            else:
                for trace in unsent.traces():
                    self.keep(trace)
        except UsageError as error:
            self.record_error = error

    def count_refused(self, trace: Trace) -> None:
        """Note how a request ended: the server is gone after that many refused connections in a row."""
        if trace.ending == "over_limit":
            return
        self.last_ending = trace.ending
        self.refused_in_a_row = self.refused_in_a_row + 1 if trace.ending == "connect" else 0
        if self.refused_in_a_row >= max(8, self.plan.concurrency):
            self.server_gone = True
            self.gone.set()

    @property
    def unsent_ending(self) -> tuple[Ending, str]:
        """Return how requests end that were not sent: failed if the server stopped, else cancelled; and why."""
        if self.server_gone:
            return "connect", "the server stopped answering"
        return "cancelled", "the load was stopped"

    @property
    def prompts_vary(self) -> bool:
        """Return whether requests have different prompts."""
        return self.prompts != 1

    def prompt_id(self, request_id: int) -> int:
        """Return the id of the prompt of a request; those of a file count from its first row."""
        return request_id - self.first_row_id if self.prompts_vary else 0

    def request(self, request_id: int, phase: str, scheduled_ns: int) -> Request:
        """Return a request; the body is built once if all requests are the same."""
        prompt_id = self.prompt_id(request_id)
        max_tokens = max_tokens_of(self.plan, request_id, prompt_id)
        if self.prompts_vary or self.plan.output_tokens is not None:
            body = request_body(self.plan, self.endpoint, prompt_id, max_tokens)
        else:
            body = self.fixed_body = self.fixed_body or request_body(self.plan, self.endpoint, 0, max_tokens)
        return Request(body, request_id, phase, prompt_id, scheduled_ns, max_tokens)


async def _run_phase(
    load: _Load,
    clients: list[Client],
    phase: str,
    planned: RequestIds | Conversations,
    duration_s: float | None,
    *,
    begin_ns: int,
) -> None:
    """Run all slots until all is sent that is planned or the duration is over. Raises the UsageError of `record`."""
    await _wait_until(begin_ns)
    until_ns = math.inf if duration_s is None else begin_ns + int(duration_s * 1e9)
    try:
        async with asyncio.TaskGroup() as slots:
            for client in clients:
                if isinstance(planned, Conversations):
                    slots.create_task(_hold_conversations(load, client, planned, (begin_ns, until_ns)))
                else:
                    slots.create_task(_run_slot(load, client, phase, planned, (begin_ns, until_ns)))
    except* UsageError as group:
        raise group.exceptions[0] from None


async def _wait_until(time_ns: int) -> None:
    """Return at this time; at once if it is past."""
    if time_ns > time.perf_counter_ns():
        clock = AlarmClock()
        try:
            await clock.wait_until(time_ns)
        finally:
            clock.close()


async def _run_slot(load: _Load, client: Client, phase: str, ids: RequestIds, span_ns: tuple[int, float]) -> None:
    """Send requests in a closed loop: each one is due when the last byte of the previous response arrived.

    The first is due at the begin of the phase, one after a failure when the failure was noticed.
    """
    await WakeUpQueue.current().wait()
    scheduled_ns, until_ns = span_ns
    while not load.server_gone:
        if time.perf_counter_ns() >= until_ns:
            return
        request_id = ids.take()
        if request_id is None:
            return
        trace = await client.send(load.request(request_id, phase, scheduled_ns), load.record)
        if load.record_error is not None:
            raise load.record_error
        scheduled_ns = trace.done_ns or time.perf_counter_ns()
        load.count_refused(trace)


async def _hold_conversations(
    load: _Load, client: Client, conversations: Conversations, span_ns: tuple[int, float]
) -> None:
    """Hold one conversation after the other in a closed loop: each begins when the one before has ended."""
    await WakeUpQueue.current().wait()
    scheduled_ns, until_ns = span_ns
    while not load.server_gone and time.perf_counter_ns() < until_ns:
        conversation = conversations.take()
        if conversation is None:
            return
        scheduled_ns = await _converse(load, conversation, scheduled_ns, partial(client.send, record=load.record))


async def _converse(
    load: _Load, conversation: Conversation, scheduled_ns: int, send: SendCallback, lead_ns: int = 0
) -> int:
    """Send the turns of a conversation and return when it ended; a turn that is not sent is recorded too.

    A turn is due when its user has thought since the end of the answer before. Its request is made while they think.
    From `lead_ns` before it is due it is held without waiting for a timer.

    Raises the UsageError of `record`.
    """
    why: tuple[Ending, str] | None = None
    try:
        while True:
            request = conversation.request(scheduled_ns)
            await _think(load, scheduled_ns - lead_ns)
            if load.server_gone:
                break
            while time.perf_counter_ns() < scheduled_ns:
                pass
            trace = await conversation.send(request, send)
            if load.record_error is not None:
                raise load.record_error
            load.count_refused(trace)
            scheduled_ns = trace.done_ns or time.perf_counter_ns()
            if (failure := conversation.hear(trace)) is not None:
                why = "earlier_turn_failed", failure
            if why or not conversation.turns_left:
                break
            scheduled_ns += conversation.think_ns()
    finally:
        ending, text = why or load.unsent_ending
        load.record_turns(conversation.unsent(time.perf_counter_ns(), ending, text))
    return scheduled_ns


async def _think(load: _Load, until_ns: int) -> None:
    """Return at this time, or earlier if the server is gone."""
    left_ns = until_ns - time.perf_counter_ns() - COARSE_NS
    if left_ns > 0:
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(left_ns / 1e9):
                await load.gone.wait()
    if not load.server_gone:
        await _wait_until(until_ns)


@dataclass(slots=True)
class _ClientPool:
    """The clients of an open loop: one per request in flight, opened when it is needed, up to a limit."""

    open_client: Callable[[], Client]
    limit: int
    idle: list[Client]
    opened: list[Client] = field(default_factory=list)
    in_flight: int = 0

    def take(self) -> Client | None:
        """Return a client that sends nothing; None if the limit of requests in flight is reached."""
        if self.in_flight == self.limit:
            return None
        self.in_flight += 1
        if self.idle:
            return self.idle.pop()
        self.opened.append(self.open_client())
        return self.opened[-1]

    def give_back(self, client: Client) -> None:
        """Take a client back whose request has ended."""
        self.in_flight -= 1
        self.idle.append(client)

    async def send(self, request: Request, record: TraceCallback) -> Trace:
        """Send a request with a client that is idle; above the limit it is recorded and not sent."""
        client = self.take()
        if client is None:
            why = f"not sent: {self.limit} requests were in flight, the limit of the plan"
            trace = Trace(
                *(request.request_id, request.phase, request.prompt_id, request.scheduled_ns),
                ending="over_limit",
                error=why,
                conversation=request.conversation,
                turn=request.turn,
            )
            record(trace)
            return trace
        try:
            return await client.send(request, record)
        finally:
            self.give_back(client)

    async def aclose(self) -> None:
        """Close the clients that were opened here."""
        for client in self.opened:
            await client.__aexit__(None, None, None)


async def _run_open_phase(
    load: _Load,
    pool: _ClientPool,
    phase: str,
    planned: RequestIds | Conversations,
    offsets_s: Sequence[float],
    *,
    begin_ns: int,
) -> None:
    """Send each request or begin each conversation when it is due, then wait for all in flight.

    Raises the UsageError of `record`.
    """
    first_id = planned.next_id
    clock = AlarmClock()
    mean_gap_ns = (offsets_s[-1] - offsets_s[0]) * 1e9 / len(offsets_s) if offsets_s else 0
    lead_ns = int(min(LEAD_NS, LEAD_SHARE * mean_gap_ns))
    try:
        async with asyncio.TaskGroup() as requests:
            for offset_s in offsets_s:
                due_ns = begin_ns + int(offset_s * 1e9)
                await clock.wait_until(due_ns - lead_ns)
                if load.server_gone:
                    break
                if isinstance(planned, Conversations):
                    requests.create_task(_converse_due(load, pool, planned, (begin_ns, offsets_s), lead_ns))
                else:
                    requests.create_task(_send_due(load, pool, phase, planned, (first_id, begin_ns, offsets_s)))
    except* UsageError as group:
        raise group.exceptions[0] from None
    finally:
        clock.close()


async def _send_due(
    load: _Load, pool: _ClientPool, phase: str, ids: RequestIds, schedule: tuple[int, int, Sequence[float]]
) -> None:
    """Send the next request. It takes its id only here: a task that is cancelled before it begins leaves it unsent."""
    request_id = ids.take()
    if request_id is None or load.record_error is not None:
        return
    first_id, begin_ns, offsets_s = schedule
    scheduled_ns = begin_ns + int(offsets_s[(request_id - first_id) // ids.step] * 1e9)
    request = load.request(request_id, phase, scheduled_ns)
    while time.perf_counter_ns() < scheduled_ns:
        pass
    load.count_refused(await pool.send(request, load.record))
    if load.record_error is not None:
        raise load.record_error


async def _converse_due(
    load: _Load,
    pool: _ClientPool,
    conversations: Conversations,
    schedule: tuple[int, Sequence[float]],
    lead_ns: int,
) -> None:
    """Hold the next conversation. It is taken only here: a task that is cancelled before it begins leaves it."""
    conversation = None if load.record_error is not None else conversations.take()
    if conversation is not None:
        begin_ns, offsets_s = schedule
        due_ns = begin_ns + int(offsets_s[conversation.number] * 1e9)
        await _converse(load, conversation, due_ns, partial(pool.send, record=load.record), lead_ns)


def _record_unsent(load: _Load, phase: str, planned: RequestIds | Conversations) -> int:
    """Record each planned request that was not sent: failed if the server stopped, else cancelled. Return how many."""
    ending, why = load.unsent_ending
    if isinstance(planned, Conversations):
        now_ns = time.perf_counter_ns()
        for conversation in planned.rest():
            load.record_turns(conversation.unsent(now_ns, ending, why))
        return load.unsent_turns
    ids = planned
    if not ids.left:
        return 0
    prompt_id, now_ns = load.prompt_id(ids.next_id), time.perf_counter_ns()
    first = Trace(ids.next_id, phase, prompt_id, now_ns, ending=ending, error=f"not sent: {why}")
    load.record_unsent(UnsentRequests(first, ids.left, load.prompts_vary, ids.step))
    return ids.left


async def _accepts_connections(url: str, timeout_s: float) -> bool:
    address = httpx.URL(url)
    port = address.port or (443 if address.scheme == "https" else 80)
    try:
        _, writer = await asyncio.wait_for(asyncio.open_connection(address.host, port), timeout_s)
    except (OSError, TimeoutError):
        return False
    writer.close()
    return True


async def connect_all(clients: Sequence[Client]) -> None:
    """Open the connection of each client, CONNECT_BATCH at a time; stop at the first that is refused."""
    waiting = iter(clients)
    refused = False

    async def connect_some() -> None:
        nonlocal refused
        for client in waiting:
            if refused or not await client.connect():
                refused = True
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(CONNECT_BATCH, len(clients))):
            group.create_task(connect_some())


@contextlib.contextmanager
def _garbage_collection_paused() -> Iterator[None]:
    """Keep Python's garbage collector out of the measured time."""
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


def raise_open_file_limit(connections: int) -> None:
    """Raise the soft limit on open files of this process so that it can hold so many connections.

    Raises UsageError if the system does not allow that many.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = _open_files() + SPARE_FILES + connections
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    if hard not in (unlimited, -1) and hard < needed:
        raise UsageError(
            f"{connections} connections need {needed} open files and this system allows {hard} (RLIMIT_NOFILE): "
            "lower the concurrency, or raise the hard limit with ulimit -Hn"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError) as error:
        raise UsageError(f"{connections} connections need {needed} open files: raise the limit, ulimit -n") from error


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return SPARE_FILES
