"""Describe what a reference server does: pace, dialect and faults; the same seed gives the same plan."""

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
BLOCK = 100  # of each block of so many requests, exactly the planned share fails
FAULTS = ("http", "error", "cut")


def _option(default: Any, words: str) -> Any:
    return field(default=default, metadata={"help": words})


@dataclass(frozen=True, slots=True)
class ReferencePlan:
    """The options of a reference server; times in seconds. Raises UsageError where a value makes no sense."""

    ttft_s: float = _option(0.2, "from a request's arrival to its first token")
    itl_s: float = _option(0.025, "from one token to the next")
    jitter_s: float = _option(0.0, "each event is later by a seeded share of this")
    lockstep: bool = _option(False, "all streams' tokens at common ticks, as a batching engine's")
    tokens: int = _option(64, "of a reply; a request's own limit makes it shorter")
    tokens_per_event: int = _option(1, "in one event, which is then as many ITLs after the last")
    role: str = _option("early", "the role chunk: at once, with the first token, or never")
    reasoning: str = _option("none", "the field of the reasoning share (Ollama's is always `thinking`)")
    reasoning_share: float = _option(0.5, "of the events, the first ones, where reasoning is not none")
    usage: str = _option("final", "token counts: none, at the end, or in each event as well")
    comment_every: int = _option(0, "an SSE comment before each so-many-th event; 0 for none")
    crlf: bool = _option(False, "lines end with CR LF")
    torn: int = _option(1, "writes for one event, cut at seeded bytes, in UTF-8 and in HTTP's framing too")
    torn_gap_s: float = _option(0.0, "between the writes of one event; the last one is on time")
    http_errors: float = _option(0.0, "share of requests refused with the status below, in whole percent")
    http_status: int = _option(503, "of the refused ones")
    stream_errors: float = _option(0.0, "share of streams that tell an error and end, in whole percent")
    cuts: float = _option(0.0, "share of streams whose connection closes inside an event, in whole percent")
    accept_s: float = _option(0.0, "that a new connection waits until it is accepted")
    seed: int = _option(0, "of jitter, tears and faults")

    def __post_init__(self) -> None:
        """Refuse what cannot be served, in words."""
        for name, allowed in REFERENCE_PLAN_CHOICES.items():
            if getattr(self, name) not in allowed:
                raise UsageError(f"{name} must be one of {', '.join(allowed)}, not {getattr(self, name)!r}")
        for entry in fields(self):
            value = getattr(self, entry.name)
            if entry.name.endswith("_s") and not 0 <= value < 3600:
                raise UsageError(f"{entry.name} must be seconds from 0 to an hour, not {value}")
        for name, least in (("tokens", 1), ("tokens_per_event", 1), ("torn", 1), ("comment_every", 0)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be {least} or more, not {getattr(self, name)}")
        if not 0 <= self.reasoning_share <= 1:
            raise UsageError(f"reasoning_share must lie between 0 and 1, not {self.reasoning_share}")
        if not 400 <= self.http_status <= 599:
            raise UsageError(f"http_status must be an error, 400 to 599, not {self.http_status}")
        rates = (self.http_errors, self.stream_errors, self.cuts)
        if min(rates) < 0 or sum(rates) > 1 or any(abs(rate * BLOCK - round(rate * BLOCK)) > 1e-9 for rate in rates):
            raise UsageError(f"the rates of faults must be whole percents that sum to 1 at most, not {rates}")


def fault(plan: ReferencePlan, number: int) -> str | None:
    """What goes wrong in the `number`-th request (from 0): one of FAULTS, or None. Exact in each block of BLOCK."""
    place = _places(plan.seed, number // BLOCK)[number % BLOCK]
    for name, rate in zip(FAULTS, (plan.http_errors, plan.stream_errors, plan.cuts), strict=True):
        place -= round(rate * BLOCK)
        if place < 0:
            return name
    return None


@lru_cache(maxsize=64)
def _places(seed: int, block: int) -> list[int]:
    return random.Random(f"{seed} block {block}").sample(range(BLOCK), BLOCK)


def fault_after(plan: ReferencePlan, number: int, events: int) -> int:
    """How many of its `events` a faulty stream sends whole: at least one, and never all, where there are two."""
    return random.Random(f"{plan.seed} fault {number}").randint(min(1, events - 1), events - 1)


def tears(plan: ReferencePlan, number: int, size: Sequence[int]) -> list[list[int]]:
    """For each write of so many bytes where it ends up cut: `plan.torn` - 1 seeded places, and its end."""
    draw = random.Random(f"{plan.seed} tears {number}")
    insides = [range(1, end) for end in size]
    return [
        [*sorted(draw.sample(inside, min(plan.torn - 1, len(inside)))), end]
        for inside, end in zip(insides, size, strict=True)
    ]


def due_ns(plan: ReferencePlan, number: int, steps: Sequence[int], asked_ns: int, epoch_ns: int) -> list[int]:
    """When each write is due (ns on the clock of the two stamps), never before the one that it follows.

    A step of `steps` is the number of tokens before it, -1 for what goes out at once. In lockstep the first token
    waits for the next common tick after its TTFT; ticks are one event apart, counted from `epoch_ns`, and share their
    jitter.
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


@lru_cache(maxsize=1024)
def _tick_share(seed: int, tick: int) -> float:
    return random.Random(f"{seed} tick {tick}").random()
