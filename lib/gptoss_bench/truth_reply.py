"""One stream of a truth server: the reply's bytes with its number in them, and when each write is due. Pure."""

import re
from array import array
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass

from gptoss_bench.truth_plan import TruthPlan, due_ns, fault, fault_after, tears
from gptoss_bench.truth_words import NOBODY, Said, Wanted, Write, reply_writes

IDENTITY = re.compile(rb"truth-(\d{8})")


@dataclass(frozen=True, slots=True)
class Sent:
    """What one stream sent. `completes[i]` are the events that write i completed; `stamps` has two a write.

    A stream that was left early has fewer stamps than writes; the events behind them were never sent.
    """

    number: int
    asked_ns: int
    completes: tuple[tuple[Said, ...], ...]
    due_ns: list[int]
    stamps: "array[int]"
    fault: str | None


def named(data: bytes, number: int) -> bytes:
    """The bytes with the number of their stream, in as many bytes."""
    return data.replace(NOBODY.encode(), b"truth-%08d" % number)


def composed(plan: TruthPlan, wanted: Wanted, number: int, asked_ns: int, epoch_ns: int) -> tuple[list[bytes], Sent]:
    """The writes of the `number`-th stream, and the record of them that has no stamps yet."""
    wrong = fault(plan, number)
    events = -(-min(plan.tokens, wanted.limit or plan.tokens) // plan.tokens_per_event)
    after = fault_after(plan, number, events) if wrong in ("error", "cut") else 0
    writes = reply_writes(plan, wanted, wrong, after)
    parts = [named(write.data, number) for write in writes]
    due = due_ns(plan, number, [write.step for write in writes], asked_ns, epoch_ns)
    completes = tuple(write.events for write in writes)
    if plan.torn > 1:
        parts, due, completes = _torn(plan, number, writes, parts, due)
    return parts, Sent(number, asked_ns, completes, due, array("q"), wrong)


def _torn(
    plan: TruthPlan, number: int, writes: Sequence[Write], parts: list[bytes], due: list[int]
) -> tuple[list[bytes], list[int], tuple[tuple[Said, ...], ...]]:
    """Each write as several, the earlier ones ahead of time; an event is sent with the part that completes it."""
    gap_ns = round(plan.torn_gap_s * 1e9)
    torn_parts, torn_due, completes = [], [], []
    cuts = tears(plan, number, list(map(len, parts)))
    for write, part, stamp, ends in zip(writes, parts, due, cuts, strict=True):
        torn_parts += [part[start:end] for start, end in zip([0, *ends], ends, strict=False)]
        torn_due += [stamp - gap_ns * left for left in range(len(ends) - 1, -1, -1)]
        within = [bisect_left(ends, whole) for whole in write.whole]
        completes += [
            tuple(said for said, place in zip(write.events, within, strict=True) if place == at)
            for at in range(len(ends))
        ]
    for at in range(1, len(torn_due)):  # a gap longer than the pace moves the rest, not the order
        torn_due[at] = max(torn_due[at], torn_due[at - 1])
    return torn_parts, torn_due, tuple(completes)
