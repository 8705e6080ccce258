"""Estimate the client's error in a run from a calibration of the same machine.

A calibration (calibration.ipynb) measures the client against a reference server, which knows when it sent each token.
A run has no such reference, so it takes the errors of the next busier load of the calibration, by events per second.
"""

from collections.abc import Mapping, Sequence
from typing import Any

SAME_MACHINE = ("cpu", "cores", "system", "python")  # facts that must be equal for a calibration to apply
NOT_CALIBRATED = "this machine is not calibrated: run `make calibrate`"

_ERRORS = {"ttft_error_ms": "ttft_error", "itl_error_ms": "itl_error"}

Document = Mapping[str, Any]


def select_calibration(machine: Document, calibrations: Sequence[tuple[str, Document, Document]]) -> dict[str, Any]:
    """Return the newest calibration of this machine in the form that a run's manifest keeps.

    Args:
        machine: Facts of the run's machine.
        calibrations: (run_id, machine, summary) of each calibration, oldest first.

    Returns:
        "run_id" (None if there is no calibration) and "levels" by rising "events_s", with "ttft_error_ms" and
        "itl_error_ms" (p50, p99; None where unknown) and whether the client was "trusted" at that load.
    """
    for run_id, calibrated, summary in reversed(calibrations):
        if all(calibrated.get(name) == machine.get(name) for name in SAME_MACHINE):
            levels = [
                {
                    "events_s": level["events_s"],
                    **{name: {at: level[key][at] for at in ("p50", "p99")} for name, key in _ERRORS.items()},
                    "trusted": level["trusted"],
                }
                for level in summary["levels"]
            ]
            return {"run_id": run_id, "levels": sorted(levels, key=lambda level: float(level["events_s"]))}
    return {"run_id": None, "levels": []}


def client_error_bar(events_s: float | None, calibration: Document | None) -> dict[str, Any]:
    """Return the client's errors (s) in a run of this event rate, from the next busier load of the calibration.

    "why" is the reason if there is no error bar, else None; the errors are then None.
    """
    bar: dict[str, Any] = {"events_s": events_s, "calibration": None, "calibration_events_s": None, "trusted": None}
    bar |= {"ttft_s": None, "itl_s": None, "why": None}
    if not calibration or calibration["run_id"] is None:
        return bar | {"why": NOT_CALIBRATED}
    bar["calibration"] = calibration["run_id"]
    above = [level for level in calibration["levels"] if events_s is not None and level["events_s"] >= events_s]
    if not above:
        return bar | {
            "why": "busier than every load of the calibration" if events_s is not None else "no events arrived"
        }
    level = above[0]
    return bar | {
        "calibration_events_s": level["events_s"],
        "trusted": level["trusted"],
        "ttft_s": _seconds(level["ttft_error_ms"]),
        "itl_s": _seconds(level["itl_error_ms"]),
    }


def _seconds(spread_ms: Mapping[str, float | None]) -> dict[str, float | None]:
    return {at: None if value is None else value / 1e3 for at, value in spread_ms.items()}


def error_bar_text(bar: Document) -> str:
    """Format the error bar as one line: TTFT and ITL at p50 and p99, or why there is none."""
    if bar["why"]:
        return f"client's error unknown: {bar['why']}"
    ttft, itl = (f"{_ms(bar[name]['p50'])} / {_ms(bar[name]['p99'])} ms" for name in ("ttft_s", "itl_s"))
    doubt = "" if bar["trusted"] else ", which the calibration does not trust"
    where = f"({bar['calibration']} at {bar['calibration_events_s']:,.0f} events/s)"
    return f"client's error, p50 / p99: TTFT {ttft}, ITL {itl}{doubt} {where}"


def _ms(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s * 1e3:.2g}"
