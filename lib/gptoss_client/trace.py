"""What one request did on the wire: stamps and raw bytes, nothing decoded."""
# MERGED: What the load needs to know of a server, and what the server says of itself.

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

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
    timestamp_source: str = "client"
    lags_ns: tuple[int, ...] = ()  # of each piece: from its arrival to our reading it; empty where that is not known


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is ready: a token came back from it.

    `url` is the root (no /v1, no trailing slash, no credentials). `dialect` is "openai" (chat completions as SSE) or
    "ollama" (/api/chat as NDJSON). `label` is what every figure must carry, such as "TINY MODEL". `keep_alive` is
    False where the server closes its connections while saying that it keeps them. `facts` holds whatever else the
    server said of itself, as JSON types. `ready_s` is launch to first token, None where we attached.
    `request_fields` are the optional fields of a plan (ignore_eos, min_tokens, token_counts) that the server
    understands; None where that is unknown, and then all are sent.
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
    facts: Mapping[str, Any] = field(default_factory=dict)
