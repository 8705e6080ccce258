"""Define the loads of a calibration: what the reference server sends and what the client asks for at each level."""

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.runs import LevelKind
from gptoss_client import LoadPlan, UsageError

TTFT_S = 0.1
TOKENS, TOKENS_OF_MANY, MANY_STREAMS = 8, 32, 64  # short replies: many first tokens; more streams get longer ones
RESOLVED_REQUESTS = 1050  # over all repeats: 10 of 1,000 lie beyond p99
REPEAT_S = 6.5  # most seconds of one repeat, where that many requests would take longer
QUICK_REQUESTS, QUICK_STREAMS, QUICK_S = 21, 256, 4.0
MERGED_EVENTS = 4  # events of a write in a "merged" load
KINDS: tuple[LevelKind, ...] = ("lockstep", "merged", "late-reader", "new-connections", "tls")


@dataclass(frozen=True, slots=True)
class CalibrationLoad:
    """`waves` waves of `streams` requests after one of warm-up, `tokens` tokens each at `tokens_s` tokens per second.

    Raises UsageError if a number is not above 0.
    """

    streams: int
    tokens_s: float
    kind: LevelKind = "plain"
    tokens: int = TOKENS
    waves: int = 1

    def __post_init__(self) -> None:
        for name in ("streams", "tokens_s", "tokens", "waves"):
            if not getattr(self, name) > 0:
                raise UsageError(f"{name} of a calibration level must be above 0, not {getattr(self, name)}")

    @property
    def wave_s(self) -> float:
        """Return the planned seconds of one wave."""
        return TTFT_S + (self.tokens - 1) / self.tokens_s

    @property
    def pace(self) -> ReferencePlan:
        """Return what the reference server does."""
        return ReferencePlan(
            ttft_s=TTFT_S,
            itl_s=1 / self.tokens_s,
            tokens=self.tokens,
            lockstep=self.kind == "lockstep",
            events_per_write=MERGED_EVENTS if self.kind == "merged" else 1,
        )

    @property
    def plan(self) -> LoadPlan:
        """Return what the client sends."""
        requests = self.streams * self.waves
        return LoadPlan(
            concurrency=self.streams, requests=requests, warmup=self.streams, max_tokens=self.tokens, timeout_s=120
        )

    def __str__(self) -> str:
        return f"{self.streams} × {self.tokens_s:g}" + ("" if self.kind == "plain" else f", {self.kind}")


def calibration_loads(
    levels: Sequence[Sequence[float]], kinds_level: Sequence[float] | None, *, repeats: int, quick: bool = False
) -> list[CalibrationLoad]:
    """Return a plain load for each of `levels`, and one of each other kind at `kinds_level` unless that is None.

    Levels are pairs of streams and tokens/s of each. A load has as many waves as `repeats` need to resolve the p99 of
    TTFT, and no more than fit into REPEAT_S. With `quick` there are only the plain loads of up to QUICK_STREAMS streams
    that resolve the median within QUICK_S, at least one. Raises UsageError if a level is not valid.
    """
    kinds = [] if kinds_level is None else [(kinds_level, kind) for kind in KINDS]
    planned: list[tuple[Sequence[float], LevelKind]] = [*((level, "plain") for level in levels), *kinds]
    if not levels or any(len(level) != 2 for level, _ in planned):
        raise UsageError(f"levels must be pairs of [streams, tokens_per_s], not {levels!r}")
    loads = []
    for (streams, tokens_s), kind in planned:
        tokens = TOKENS if streams <= MANY_STREAMS else TOKENS_OF_MANY
        load = CalibrationLoad(int(streams), float(tokens_s), kind, tokens)
        needed = QUICK_REQUESTS if quick else RESOLVED_REQUESTS / repeats
        fitting = max(2, int(REPEAT_S / load.wave_s) - 1)
        loads.append(replace(load, waves=min(max(3 if quick else 2, math.ceil(needed / load.streams)), fitting)))
    if not quick:
        return loads
    short = [load for load in loads if load.streams <= QUICK_STREAMS and (1 + load.waves) * load.wave_s <= QUICK_S]
    return [load for load in short if load.kind == "plain"] or loads[:1]
