"""Define the calibration document: a client's errors under each load, and what the manifest of a run keeps of it.

Errors are absolute values in ms. The manifest of a calibration has the id of its machine (`Machine.id`).
"""

from typing import Literal, Self

from pydantic import Field

from gptoss_bench.runs.record import Record

Condition = Literal["idle", "contended"]
"""Of the CPUs: nothing else was started, or as many busy processes as there are cores."""

LevelKind = Literal["plain", "lockstep", "merged", "late-reader", "new-connections", "tls"]
"""What is special about a load, see docs/calibration.md."""


class ErrorPercentiles(Record):
    """The median and the p99 of one error; a percentile is None if fewer than 10 of the errors lie beyond it."""

    p50: float | None = None
    p99: float | None = None
    n: int | None = None
    """Number of errors, of all repeats; None in a calibration without repeats, whose percentiles may be unresolved."""
    reason: str | None = None
    """Why a percentile is null."""


class ErrorSpread(ErrorPercentiles):
    """The distribution of one error over all repeats of a level."""

    max: float | None = None
    repeat_p50: list[float] = Field(default_factory=list)
    """The median of each repeat."""


class CalibrationLevel(Record):
    """One client under one load.

    `offered_events_s` is the planned rate of the streams; `events_s` is the received rate from the first send to the
    last event, so it includes the wait for first tokens. `cpu_share` is the share of one core. Both are means over the
    repeats.

    `trusted`: the p99 of each error (TTFT, ITL, arrival) is at most 5 % of the median ITL, and the client uses at most
    80 % of a core; None if a p99 is not resolved. `client_bound`: the client limited one of the repeats, by the rule
    for runs, which have no send log (`stats.client_bound`); None if that is unknown, as for stock httpx.
    """

    client: str
    kind: LevelKind = "plain"
    condition: Condition = "idle"
    streams: int
    tokens_s: float
    repeats: int = 1
    events: int
    offered_events_s: float
    unmatched: int
    """Events that are only in the log or only in the client's table."""
    events_s: float
    cpu_share: float
    itl_p50_ms: float | None
    ttft_error: ErrorSpread
    itl_error: ErrorSpread
    arrival_error: ErrorSpread
    lag: ErrorSpread
    server_late: ErrorSpread
    exact_share: float | None = None
    """Share of the events whose arrival the client calls exact (`not_before_ns` is `arrival_ns`); None if unknown."""
    outside_share: float | None = None
    """Share of the events that were sent before their `not_before_ns`: the interval does not hold the true arrival."""
    trusted: bool | None
    client_bound: bool | None


class ClientCalibration(Record):
    """The levels of one client, and the highest rate of events up to which it is trusted."""

    levels: list[CalibrationLevel]
    trusted_up_to_events_s: float | None


class CalibrationSummary(ClientCalibration):
    """The calibration of the kit's client; `watched` is one load without and with a live view, `stock` stock httpx."""

    quick: bool = False
    """A calibration of seconds, which resolves no p99."""
    skipped: dict[str, str] = Field(default_factory=dict)
    """Kinds of load that this machine cannot measure, with the reason."""
    watched: list[CalibrationLevel] = Field(default_factory=list)
    stock: ClientCalibration | None = None


class CalibratedLoad(Record):
    """The client's errors in ms at one level of a calibration, and whether the calibration trusts the client there."""

    kind: LevelKind = "plain"
    condition: Condition = "idle"
    repeats: int = 1
    events_s: float
    ttft_error_ms: ErrorPercentiles
    itl_error_ms: ErrorPercentiles
    trusted: bool | None

    @classmethod
    def of(cls, level: CalibrationLevel) -> Self:
        """Return what a run keeps of a level."""
        return cls(
            kind=level.kind,
            condition=level.condition,
            repeats=level.repeats,
            events_s=level.events_s,
            ttft_error_ms=ErrorPercentiles(**level.ttft_error.model_dump(include=_KEPT, exclude_unset=True)),
            itl_error_ms=ErrorPercentiles(**level.itl_error.model_dump(include=_KEPT, exclude_unset=True)),
            trusted=level.trusted,
        )


_KEPT = set(ErrorPercentiles.model_fields)


class CalibrationReference(Record):
    """The calibration of the run's machine, by rising rate of events; `run_id` is None if there is none."""

    run_id: str | None = None
    machine_id: str | None = None
    quick: bool = False
    levels: list[CalibratedLoad] = Field(default_factory=list)
