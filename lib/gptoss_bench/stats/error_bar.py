"""How wrong the client may be in a run: what the ruler found on the same machine, at the run's own event rate. Pure.

The ruler (ruler.ipynb) measures the client against a server that knows when it sent each token. A run is not told the
truth, but it knows how many events came each second, and takes the errors of the ruler's next busier load.
"""

from collections.abc import Mapping, Sequence
from typing import Any

LAG_SHARE = 0.05  # of the median ITL
CPU_SHARE = 0.80  # of one core
SHARED_READ_SHARE = 0.05  # of the gaps
SAME_MACHINE = ("cpu", "cores", "system", "python")  # what has to be equal for a ruler's errors to hold here
NOT_CALIBRATED = "this machine is not calibrated: run `make calibrate`"

Words = Mapping[str, Any]


def select_calibration(machine: Words, calibrations: Sequence[tuple[str, Words, Words]]) -> dict[str, Any]:
    """What a run keeps of the newest ruler that was laid on its machine, of (run_id, machine, summary), oldest first.

    {"run_id": None} where there is none; else its client's loads, by "events_s": "ttft_error_ms" and "itl_error_ms"
    (p50, p99; None where unknown) and whether the client was "trusted" there.
    """
    for run_id, its, summary in reversed(calibrations):
        if all(its.get(name) == machine.get(name) for name in SAME_MACHINE):
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


_ERRORS = {"ttft_error_ms": "ttft_error", "itl_error_ms": "itl_error"}


def client_error_bar(events_s: float | None, calibration: Words | None) -> dict[str, Any]:
    """The client's errors (s) in a run of that event rate, from the ruler's load that is the next above it.

    "why" is None, or why no ruler speaks for this run; the errors are then None.
    """
    bar: dict[str, Any] = {"events_s": events_s, "calibration": None, "calibration_events_s": None, "trusted": None}
    bar |= {"ttft_s": None, "itl_s": None, "why": None}
    if not calibration or calibration["run_id"] is None:
        return bar | {"why": NOT_CALIBRATED}
    bar["calibration"] = calibration["run_id"]
    above = [level for level in calibration["levels"] if events_s is not None and level["events_s"] >= events_s]
    if not above:
        return bar | {"why": "busier than every load of the calibration" if events_s is not None else "nothing came"}
    level = above[0]
    return bar | {
        "calibration_events_s": level["events_s"],
        "trusted": level["trusted"],
        "ttft_s": _seconds(level["ttft_error_ms"]),
        "itl_s": _seconds(level["itl_error_ms"]),
    }


def _seconds(spread_ms: Mapping[str, float | None]) -> dict[str, float | None]:
    return {at: None if value is None else value / 1e3 for at, value in spread_ms.items()}


def client_bound(client: Words, gap_s: float | None) -> list[str]:
    """Why a run is client-bound, in words; empty where it is not.

    Its p99 of lag exceeds 5 % of the median ITL `gap_s`, or the client is busy for more than 80 % of the time, or more
    than 5 % of the gaps lay within one read, where they cannot be seen.
    """
    found = []
    if client["lag_s"] and gap_s is not None and client["lag_s"]["p99"] > LAG_SHARE * gap_s:
        found.append(f"p99 of its lag is {client['lag_s']['p99'] * 1e3:.3g} ms, the median ITL {gap_s * 1e3:.3g} ms")
    if client["cpu_share"] is not None and client["cpu_share"] > CPU_SHARE:
        found.append(f"it was busy {client['cpu_share']:.0%} of the time")
    if (client["shared_read_share"] or 0.0) > SHARED_READ_SHARE:
        found.append(f"{client['shared_read_share']:.0%} of the gaps lay within one read of the socket")
    return found


def error_bar_text(bar: Words) -> str:
    """The error bar as a line: of TTFT and ITL at p50 and p99, or why there is none."""
    if bar["why"]:
        return f"client's error unknown: {bar['why']}"
    ttft, itl = (f"{_ms(bar[name]['p50'])} / {_ms(bar[name]['p99'])} ms" for name in ("ttft_s", "itl_s"))
    doubt = "" if bar["trusted"] else ", which the calibration does not trust"
    where = f"({bar['calibration']} at {bar['calibration_events_s']:,.0f} events/s)"
    return f"client's error, p50 / p99: TTFT {ttft}, ITL {itl}{doubt} {where}"


def _ms(value_s: float | None) -> str:
    return "–" if value_s is None else f"{value_s * 1e3:.2g}"
