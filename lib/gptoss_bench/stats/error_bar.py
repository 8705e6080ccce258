"""Estimate the client's error in a run from a calibration of the same machine.

A calibration (calibration.ipynb) measures the client against a reference server, which knows when it sent each token.
A run has no such reference, so it takes the errors of the next busier load of the calibration, by events per second.
"""

from collections.abc import Sequence

from gptoss_bench.runs import (
    CalibratedLoad,
    CalibrationReference,
    CalibrationSummary,
    ErrorBar,
    ErrorMedianAndTail,
    ErrorPercentiles,
    Machine,
)

SAME_MACHINE = ("cpu", "cores", "system", "python")  # facts that must be equal for a calibration to apply
NOT_CALIBRATED = "this machine is not calibrated: run `make calibrate`"


def select_calibration(
    machine: Machine | None, calibrations: Sequence[tuple[str, Machine | None, CalibrationSummary]]
) -> CalibrationReference:
    """Return the newest calibration of this machine in the form that a run's manifest keeps.

    Args:
        machine: The run's machine.
        calibrations: (run_id, machine, summary) of each calibration, oldest first.

    Returns:
        The levels by rising rate of events; without levels and run id if there is no calibration of this machine.
    """
    for run_id, calibrated, summary in reversed(calibrations):
        if all(getattr(calibrated, name, None) == getattr(machine, name, None) for name in SAME_MACHINE):
            levels = sorted(map(CalibratedLoad.of, summary.levels), key=lambda level: level.events_s)
            machine_id = calibrated.id if calibrated else None
            return CalibrationReference(run_id=run_id, machine_id=machine_id, quick=summary.quick, levels=levels)
    return CalibrationReference(run_id=None, levels=[])


def client_error_bar(events_s: float | None, calibration: CalibrationReference | None) -> ErrorBar:
    """Return the client's errors (s) in a run of this event rate, from the next busier load of the calibration.

    `why` is the reason if there is no error bar, else None; the errors are then None.
    """
    bar = ErrorBar(
        events_s=events_s,
        calibration=calibration.run_id if calibration else None,
        calibration_events_s=None,
        trusted=None,
        ttft_s=None,
        itl_s=None,
        why=None,
    )
    if calibration is None or calibration.run_id is None:
        bar.why = NOT_CALIBRATED
        return bar
    above = [level for level in calibration.levels if events_s is not None and level.events_s >= events_s]
    if not above:
        bar.why = "busier than every load of the calibration" if events_s is not None else "no events arrived"
        return bar
    level = above[0]
    bar.calibration_events_s, bar.trusted = level.events_s, level.trusted
    bar.ttft_s, bar.itl_s = _seconds(level.ttft_error_ms), _seconds(level.itl_error_ms)
    return bar


def error_bar_text(bar: ErrorBar) -> str:
    """Format the error bar as one line: TTFT and ITL at p50 and p99, or why there is none."""
    if bar.ttft_s is None or bar.itl_s is None:
        return f"client's error unknown: {bar.why}"
    ttft, itl = (f"{_ms(error.p50)} / {_ms(error.p99)} ms" for error in (bar.ttft_s, bar.itl_s))
    doubt = "" if bar.trusted else ", which the calibration does not trust"
    where = f"({bar.calibration} at {bar.calibration_events_s:,.0f} events/s)"
    return f"client's error, p50 / p99: TTFT {ttft}, ITL {itl}{doubt} {where}"


def _seconds(error_ms: ErrorPercentiles) -> ErrorMedianAndTail:
    p50, p99 = (None if value is None else value / 1e3 for value in (error_ms.p50, error_ms.p99))
    return ErrorMedianAndTail(p50=p50, p99=p99)


def _ms(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s * 1e3:.2g}"
