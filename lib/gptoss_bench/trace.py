"""What one request did on the wire: stamps and raw bytes, nothing decoded."""

from dataclasses import dataclass

ENDINGS = ("complete", "connect", "timeout", "cut", "malformed", "cancelled")


@dataclass(frozen=True, slots=True)
class Trace:
    """One planned request, as it went. Stamps are ns on CLOCK_MONOTONIC; `pieces` are raw body bytes by arrival.

    `ending` says how the transport ended, before anything is decoded: "complete" (the body reached the end that
    HTTP announced), "connect" (no connection), "timeout", "cut" (the connection ended first), "malformed" (not
    HTTP), or "cancelled" (by us). `error` is the reason in words where it is not "complete".
    """

    request_id: int
    phase: str  # "cold", "warmup", "measure", or that of a level of a sweep
    prompt_id: int
    scheduled_ns: int
    sent_ns: int | None = None  # None: nothing was sent
    connect_s: float | None = None  # 0.0 on a connection that was already open
    status: int | None = None  # of HTTP; None: no response head came
    pieces: tuple[tuple[int, bytes], ...] = ()
    done_ns: int | None = None  # the terminating chunk, or the moment of the failure
    ending: str = "complete"
    error: str | None = None
    retries: int = 0  # times that a reused connection turned out closed before the first response byte
    stamp_source: str = "client"
    lags_ns: tuple[int, ...] = ()  # of each piece: from its arrival to our reading it; empty where that is not known
