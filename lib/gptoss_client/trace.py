"""The server that a load is sent to (`Endpoint`) and the record of one request to it (`Trace`)."""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal

from gptoss_client.outside import JsonValue
from gptoss_client.timerfd import Beat

Ending = Literal[
    "complete", "connect", "timeout", "cut", "malformed", "cancelled", "over_limit", "earlier_turn_failed", "lost"
]


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is ready: it has returned a token.

    `url` is the root (no /v1, no trailing slash, no credentials). `dialect` is "openai" (chat completions as SSE) or
    "ollama" (/api/chat as NDJSON). `label` is shown on every figure, for example "TINY MODEL". `keep_alive` is False
    if the server closes its connections although its headers announce that it keeps them. `ready_s` is the time from
    launch to first token, None if this process did not launch the server. `request_fields` are the optional fields of
    a plan (ignore_eos, min_tokens, token_counts) that the server understands; None: unknown, all are sent. `facts`
    holds everything else that the server reported.
    """

    url: str
    model: str
    dialect: str
    engine: str
    version: str | None = None
    quantisation: str | None = None
    label: str | None = None
    keep_alive: bool = True
    ready_s: float | None = None
    request_fields: tuple[str, ...] | None = None
    facts: Mapping[str, JsonValue] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Trace:
    """What one planned request did on the wire: timestamps (ns on CLOCK_MONOTONIC) and raw bytes, nothing decoded.

    `ending` is how the transport ended: "complete" (the body reached the end that HTTP announced), "connect" (no
    connection), "timeout", "cut" (the connection closed too early), "malformed" (not valid HTTP), "cancelled" (by
    this process), "over_limit" (not sent: the plan's limit of requests in flight was reached), "earlier_turn_failed"
    (not sent: there is no answer to go on from), or "lost" (its process was gone). `error` is the reason as text unless
    `ending` is "complete".

    A piece arrived between its `not_before_ns` and its arrival; if they are equal, at that time exactly. A digit of
    `read_marks` is a sum: 1 the read held one TCP segment, 2 it filled its buffer, 4 it ends where an event ends, 8 the
    kernel's timestamp is before the time at which the data was absent (segments were reordered or lost).
    `beats` are the heartbeats of the event loop since its previous trace: due every 5 ms while requests are in flight,
    late if the client did something else or stood still.
    """

    request_id: int
    phase: str  # "cold", "warmup", "measure", or the phase of one level of a sweep
    prompt_id: int
    scheduled_ns: int
    sent_ns: int | None = None  # None: nothing was sent
    connect_s: float | None = None  # 0.0 on a connection that was already open
    status: int | None = None  # HTTP status; None: no response head arrived
    pieces: tuple[tuple[int, bytes], ...] = ()  # (arrival in ns, raw body bytes) of each read
    done_ns: int | None = None  # arrival of the terminating chunk, or time of the failure
    ending: Ending = "complete"
    error: str | None = None
    retries: int = 0  # 1 if a reused connection was found closed before the first response byte
    timestamp_source: str = "client"  # see transport.ExchangeTimestamps
    lags_ns: tuple[int, ...] = ()  # per piece: from its arrival to its read; empty if unknown
    not_before_ns: tuple[int, ...] = ()  # per piece: the latest time at which it was known to be absent; empty: unknown
    read_marks: str = ""  # per piece one hex digit, see `arrivals`; empty if unknown
    beats: tuple[Beat, ...] | None = None  # (due, lateness) in ns; None if the system has no heartbeat
    max_tokens: int | None = None  # of this request; None: that of the plan
    conversation: int | None = None  # its number, from 0; None: the request belongs to none
    turn: int | None = None  # of its conversation, from 1
    request_sha256: str | None = None  # of the body of a turn that was sent


@dataclass(frozen=True, slots=True)
class UnsentRequests:
    """Planned requests that were never sent and end alike: `count` of them, with each `step`-th id from `first` on.

    A stopped load may leave a million of these. Their prompt ids count on like their request ids if `distinct`, else
    all of them have the prompt of `first`.
    """

    first: Trace
    count: int
    distinct: bool
    step: int = 1

    def traces(self) -> Iterator[Trace]:
        """Yield the trace of each request."""
        for number in range(self.count):
            yield self._at(number)

    def ids(self) -> tuple[range, Sequence[int]]:
        """Return the request ids and the prompt ids."""
        begin, length = self.first.prompt_id, self.count * self.step
        prompts = range(begin, begin + length, self.step) if self.distinct else [begin] * self.count
        return range(self.first.request_id, self.first.request_id + length, self.step), prompts

    def is_like(self, other: "UnsentRequests") -> bool:
        """Return whether these are as many requests as the others and differ from them in their ids only."""
        own = replace(self.first, request_id=other.first.request_id, prompt_id=other.first.prompt_id)
        return self.count == other.count and own == other.first

    def split(self, most: int) -> Iterator["UnsentRequests"]:
        """Yield the same requests in parts of at most `most`."""
        for begin in range(0, self.count, most):
            yield UnsentRequests(self._at(begin), min(most, self.count - begin), self.distinct, self.step)

    def _at(self, number: int) -> Trace:
        further = number * self.step
        prompt_id = self.first.prompt_id + (further if self.distinct else 0)
        return replace(self.first, request_id=self.first.request_id + further, prompt_id=prompt_id)
