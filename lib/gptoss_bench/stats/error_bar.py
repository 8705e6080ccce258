"""State the floor of the client's error in a run: its errors in a calibration of the same machine at a similar load.

A calibration (calibration.ipynb) measures the client against a reference server, which knows when it sent each token.
A run adds its own errors (`client_uncertainty`), so the calibration is a floor: the error is at least of this size.
"""

from collections.abc import Sequence
from typing import NamedTuple

from gptoss_bench.runs import (
    REMOTE_LABEL,
    CalibratedLoad,
    CalibrationReference,
    CalibrationSummary,
    ClientLoad,
    ErrorBar,
    ErrorMedianAndTail,
    ErrorPercentiles,
    Machine,
    Manifest,
)

NOT_CALIBRATED = "this machine is not calibrated: run `make calibrate`"
OTHER_MACHINE = "the calibration does not say on which machine it was made: run `make calibrate`"


def select_calibration(
    machine: Machine | None, calibrations: Sequence[tuple[str, Machine | None, CalibrationSummary]]
) -> CalibrationReference:
    """Return the newest calibration of this machine, by its id, in the form that a run's manifest keeps.

    Args:
        machine: The run's machine.
        calibrations: (run_id, machine, summary) of each calibration, oldest first.

    Returns:
        The levels by rising rate of events; without levels and run id if there is no calibration of this machine.
    """
    here = machine.id if machine else None
    for run_id, calibrated, summary in reversed(calibrations):
        if here is not None and calibrated is not None and calibrated.id == here:
            levels = sorted(map(CalibratedLoad.of, summary.levels), key=lambda level: level.events_s)
            return CalibrationReference(run_id=run_id, machine_id=here, quick=summary.quick, levels=levels)
    return CalibrationReference(run_id=None, levels=[])


def client_error_bar(client: ClientLoad, manifest: Manifest) -> ErrorBar:
    """Return the floor of the client's errors (s): the worst of the calibration's next lower and next higher load.

    `why` is the reason if there is no floor, else None; the errors are then None. Only plain loads count.
    """
    calibration, events_s = manifest.calibration, client.events_s
    bar = ErrorBar(
        events_s=events_s,
        calibration=calibration.run_id if calibration else None,
        calibration_events_s=None,
        trusted=None,
        ttft_s=None,
        itl_s=None,
        why=_why_not(client, manifest),
    )
    if bar.why or calibration is None or events_s is None:
        return bar
    plain = [level for level in calibration.levels if level.kind == "plain"]
    idle, contended = (
        _neighbours([level for level in plain if level.condition == condition], events_s)
        for condition in ("idle", "contended")
    )
    if idle is None:
        bar.why = "busier than every load of the calibration"
        return bar
    bar.calibration_events_s, bar.trusted, bar.ttft_s, bar.itl_s = idle
    if contended is not None:
        bar.contended_ttft_s, bar.contended_itl_s = contended.ttft_s, contended.itl_s
    return bar


def error_bar_text(bar: ErrorBar) -> str:
    """Format the floor as one line: TTFT and ITL with idle and with contended CPUs, or why there is none."""
    if bar.ttft_s is None or bar.itl_s is None:
        return f"client floor unknown: {bar.why}"
    ttft = _both("TTFT", bar.ttft_s, bar.contended_ttft_s)
    itl = _both("ITL", bar.itl_s, bar.contended_itl_s)
    doubt = ", which the calibration does not trust" if bar.trusted is False else ""
    where = f"({bar.calibration} at {bar.calibration_events_s:,.0f} events/s)"
    return f"client floor on this kind of host, CPUs idle / contended: {ttft}, {itl}{doubt} {where}"


class _Floor(NamedTuple):
    events_s: float
    trusted: bool | None
    ttft_s: ErrorMedianAndTail
    itl_s: ErrorMedianAndTail


def _why_not(client: ClientLoad, manifest: Manifest) -> str | None:
    """Return why no calibration can say anything about a run, None if one can."""
    if client.events_s is None:
        return "no events arrived"
    if client.timestamp_source != "kernel":
        return "its arrivals are not all kernel timestamps, those of the calibration are"
    if (manifest.server.url or "").startswith("https"):
        return "the server uses TLS, the calibration's does not"
    if REMOTE_LABEL in manifest.labels:
        return "the server is on another machine, the calibration's is not"
    if manifest.calibration is None or manifest.calibration.run_id is None:
        return NOT_CALIBRATED
    return OTHER_MACHINE if manifest.calibration.machine_id is None else None


def _neighbours(levels: Sequence[CalibratedLoad], events_s: float) -> _Floor | None:
    """Return the worst of the next lower and the next higher load; None if there is no higher one."""
    above = [level for level in levels if level.events_s >= events_s]
    if not above:
        return None
    nearest = [*[level for level in levels if level.events_s < events_s][-1:], above[0]]
    trusted = [level.trusted for level in nearest]
    return _Floor(
        above[0].events_s,
        False if False in trusted else None if None in trusted else True,
        _worst([level.ttft_error_ms for level in nearest]),
        _worst([level.itl_error_ms for level in nearest]),
    )


def _worst(errors_ms: Sequence[ErrorPercentiles]) -> ErrorMedianAndTail:
    """Return the largest errors in seconds; None if they are not resolved at any of the loads."""
    p50, p99 = (
        max((value / 1e3 for value in values if value is not None), default=None)
        for values in zip(*((error.p50, error.p99) for error in errors_ms), strict=True)
    )
    return ErrorMedianAndTail(p50=p50, p99=p99)


def _both(name: str, idle: ErrorMedianAndTail, contended: ErrorMedianAndTail | None) -> str:
    """Format p99, or p50 where that is not resolved, with idle and contended CPUs."""
    at = "p99" if idle.p99 is not None else "p50"
    other = None if contended is None else contended.p99 if at == "p99" else contended.p50
    return f"{name} {at} {_ms(idle.p99 if at == 'p99' else idle.p50)} / {_ms(other)} ms"


def _ms(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s * 1e3:.2g}"
