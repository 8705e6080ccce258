"""Define the options of a reference server, and compute its schedule and faults from them and a seed."""

import heapq
import random
from collections.abc import Sequence
from dataclasses import dataclass, field, fields
from functools import lru_cache
from typing import Any

from gptoss_client import UsageError

REFERENCE_PLAN_CHOICES = {
    "role": ("early", "first", "never"),
    "reasoning": ("none", "reasoning", "reasoning_content", "both"),
    "usage": ("none", "final", "continuous"),
}
FAULT_BLOCK = 100  # requests; the planned share of each block fails, exactly
FAULTS = ("http", "error", "cut")


def _option(default: Any, help_text: str) -> Any:
    return field(default=default, metadata={"help": help_text})


@dataclass(frozen=True, slots=True)
class ReferencePlan:
    """The options of a reference server; times in seconds. Raises UsageError if a value is not valid."""

    ttft_s: float = _option(0.2, "time from the arrival of a request to its first token")
    itl_s: float = _option(0.025, "time from one token to the next")
    jitter_s: float = _option(0.0, "largest delay of an event; the delays are random, from the seed")
    lockstep: bool = _option(False, "send the tokens of all streams at common ticks, as an engine that batches")
    tokens: int = _option(64, "tokens of a reply, unless the request has a lower limit")
    prompt_tokens: int = _option(7, "tokens of any prompt, as the usage reports them")
    tokens_per_event: int = _option(1, "tokens in one event; the time between events grows with them")
    events_per_write: int = _option(1, "events that are sent together, when the last of them is due")
    role: str = _option("early", "send the role chunk at once, with the first token, or never")
    reasoning: str = _option("none", "field of the reasoning text (in Ollama's API always `thinking`)")
    reasoning_share: float = _option(
        0.5, "share of the events, the first ones, that is reasoning, unless reasoning is none"
    )
    usage: str = _option("final", "token counts: none, at the end, or also in each event")
    comment_every: int = _option(0, "send an SSE comment before each N-th event; 0: never")
    crlf: bool = _option(False, "end lines with CR LF")
    torn: int = _option(1, "writes per event, split at random bytes, also inside characters and HTTP framing")
    torn_gap_s: float = _option(0.0, "time between the writes of one event; the last one is on time")
    http_errors: float = _option(0.0, "share of requests refused with --http-status, in whole percent")
    http_status: int = _option(503, "status of refused requests")
    stream_errors: float = _option(0.0, "share of streams that end with an error message, in whole percent")
    cuts: float = _option(0.0, "share of streams whose connection is closed inside an event, in whole percent")
    slots: int = _option(0, "requests served at a time, the others wait in order of arrival; 0: all at once")
    random_ttft: bool = _option(False, "draw the time to the first token: exponential, with a mean of --ttft-s")
    accept_s: float = _option(0.0, "time until a new connection is accepted")
    seed: int = _option(0, "seed of jitter, splits, faults and random times")

    def __post_init__(self) -> None:
        """Raise UsageError if a value is not valid."""
        for name, allowed in REFERENCE_PLAN_CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name.endswith("_s") and not 0 <= value < 3600:
                raise UsageError(f"{entry.name} must be seconds from 0 to 3600, not {value}")
        for name, least in (
            ("tokens", 1),
            ("prompt_tokens", 0),
            ("tokens_per_event", 1),
            ("torn", 1),
            ("comment_every", 0),
            ("slots", 0),
        ):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if not 0 <= self.reasoning_share <= 1:
            raise UsageError(f"reasoning_share must be between 0 and 1, not {self.reasoning_share}")
        if not 400 <= self.http_status <= 599:
            raise UsageError(f"http_status must be an error status, 400 to 599, not {self.http_status}")
        rates = (self.http_errors, self.stream_errors, self.cuts)
        if (
            min(rates) < 0
            or sum(rates) > 1
            or any(abs(rate * FAULT_BLOCK - round(rate * FAULT_BLOCK)) > 1e-9 for rate in rates)
        ):
            raise UsageError(f"fault rates must be whole percents with a sum of at most 1, not {rates}")


def fault(plan: ReferencePlan, number: int) -> str | None:
    """Return the fault of request `number` (from 0), one of FAULTS or None; the rates hold in each FAULT_BLOCK."""
    position = _fault_order(plan.seed, number // FAULT_BLOCK)[number % FAULT_BLOCK]
    for name, rate in zip(FAULTS, (plan.http_errors, plan.stream_errors, plan.cuts), strict=True):
        position -= round(rate * FAULT_BLOCK)
        if position < 0:
            return name
    return None


@lru_cache(maxsize=64)
def _fault_order(seed: int, block: int) -> list[int]:
    return random.Random(f"{seed} block {block}").sample(range(FAULT_BLOCK), FAULT_BLOCK)


def fault_after(plan: ReferencePlan, number: int, events: int) -> int:
    """Return how many of its `events` a faulty stream sends: at least one and not all, if it has two or more."""
    return random.Random(f"{plan.seed} fault {number}").randint(min(1, events - 1), events - 1)


def split_points(plan: ReferencePlan, number: int, sizes: Sequence[int]) -> list[list[int]]:
    """Return for each write of `sizes` bytes the ends of its parts: `plan.torn` - 1 random places, and its own end."""
    draw = random.Random(f"{plan.seed} tears {number}")
    insides = [range(1, end) for end in sizes]
    return [
        [*sorted(draw.sample(inside, min(plan.torn - 1, len(inside)))), end]
        for inside, end in zip(insides, sizes, strict=True)
    ]


def due_ns(plan: ReferencePlan, number: int, steps: Sequence[int], asked_ns: int, epoch_ns: int) -> list[int]:
    """Return when each write is due (monotonic ns), in ascending order.

    Args:
        plan: Pace, jitter and lockstep.
        number: Number of the stream, for its jitter.
        steps: By write, the number of tokens before it; -1 for a write that is due at once.
        asked_ns: Arrival of the request.
        epoch_ns: Origin of the common ticks of lockstep. The first token is then due at the next tick after its TTFT;
            ticks are one event apart, and all streams have the same jitter at a tick.
    """
    token_ns = round(plan.itl_s * 1e9)
    gap_ns = max(1, token_ns * plan.tokens_per_event)
    first_ns = asked_ns + round(plan.ttft_s * 1e9)
    if plan.lockstep:
        tick = -(-(first_ns - epoch_ns) // gap_ns)
        first_ns = epoch_ns + tick * gap_ns
    due = [asked_ns if step < 0 else first_ns + step * token_ns for step in steps]
    if not plan.jitter_s:
        return due
    draw = random.Random(f"{plan.seed} jitter {number}")
    latest, jittered = asked_ns, []
    for step, timestamp in zip(steps, due, strict=True):
        if step >= 0:
            share = _tick_share(plan.seed, (timestamp - epoch_ns) // gap_ns) if plan.lockstep else draw.random()
            latest = max(latest, timestamp + round(share * plan.jitter_s * 1e9))
        jittered.append(latest)
    return jittered


class SlotQueue:
    """When each request is served that waits for one of the plan's slots, in the order of arrival.

    A slot is busy until its last token is due, whether or not the client waits for it.
    """

    def __init__(self, plan: ReferencePlan) -> None:
        """Start with all slots free."""
        self._plan = plan
        self._free_ns = [0] * plan.slots

    def begin_ns(self, number: int, asked_ns: int, tokens: int) -> int:
        """Return from when the tokens of stream `number` are paced: they are due `ttft_s` later, as in `due_ns`."""
        plan, free_ns = self._plan, self._free_ns
        served_ns = max(asked_ns, free_ns[0]) if free_ns else asked_ns
        if plan.random_ttft:
            mean_ns = round(plan.ttft_s * 1e9)
            drawn_ns = round(random.Random(f"{plan.seed} ttft {number}").expovariate(1.0) * mean_ns)
            begin_ns, first_ns = served_ns + drawn_ns - mean_ns, served_ns + drawn_ns
        else:
            begin_ns, first_ns = served_ns, served_ns + round(plan.ttft_s * 1e9)
        if free_ns:
            heapq.heapreplace(free_ns, first_ns + (tokens - 1) * round(plan.itl_s * 1e9))
        return begin_ns


@lru_cache(maxsize=1024)
def _tick_share(seed: int, tick: int) -> float:
    return random.Random(f"{seed} tick {tick}").random()
