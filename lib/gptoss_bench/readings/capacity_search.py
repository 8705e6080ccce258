"""Read the figure of a search for the capacity."""

from collections.abc import Sequence

import numpy as np

from gptoss_bench.runs import Capacity, CapacityLevel, LoadSummary, Manifest
from gptoss_bench.stats import CAPACITY_UNITS, capacity_curve, capacity_text, client_limits, price_text

MORE = 1.1  # times the capacity, for how fast the share falls above it


def share_within_slo(summary: LoadSummary) -> str:
    """Return between which loads the share within the SLO fell, how fast, and which levels are no evidence."""
    found = summary.capacity
    if found is None:
        return "No capacity was searched for."
    unit = CAPACITY_UNITS[found.goal.by]
    levels = sorted((level for level in found.levels if level.requests), key=lambda level: level.level)
    limited = [level for level in levels if client_limits(level, found.goal)]
    usable = [level for level in levels if level not in limited]
    text = []
    if usable:
        text.append(_levels_text(usable, unit))
    else:
        text.append("No level shows what the server carries.")
    if found.value is not None:
        text.append(_curve_text(found, unit))
    elif found.why:
        text.append(f"There is no value with an interval: {found.why}.")
    if found.value is not None and found.dispersion is not None and found.dispersion > 1:
        text.append(
            f"Levels differ {found.dispersion:.2g} times as much as independent requests would; the interval allows for"
            " that."
        )
    if limited:
        loads = ", ".join(dict.fromkeys(f"{level.level:g}" for level in limited))
        text.append(f"At {loads} {unit} the client may have been the limit, so these levels do not count.")
    return " ".join(text)


def capacity_finding(summary: LoadSummary, manifest: Manifest, usd_per_hour: float = 0.0) -> str:
    """Return the result of a search in one sentence, and with a price per hour that of its tokens, a line each.

    Labels, such as TINY MODEL, come first. Without an interval, a load after the search that missed the SLO is told.
    """
    found, slo = summary.capacity, summary.slo
    if found is None or slo is None:
        return "No capacity was searched for."
    label = f"{', '.join(manifest.labels)}: " if manifest.labels else ""
    lines, share = [capacity_text(found, slo)], summary.goodput_share
    if found.value is None and found.low and share is not None and share < found.goal.share:
        missed = f"the load after the search, at {found.low:g} {CAPACITY_UNITS[found.goal.by]} again, missed the SLO"
        lines.append(f"{missed}: {share:.1%} of its requests were within; search again with longer levels")
    lines += [price_text(found, usd_per_hour)] if usd_per_hour else []
    return "\n".join(f"{label}{line[0].upper()}{line[1:]}." for line in lines)


def _levels_text(levels: Sequence[CapacityLevel], unit: str) -> str:
    """Return the shares at the lowest and at the highest of the levels, which are sorted."""
    first, last = levels[0], levels[-1]
    if first.level == last.level:
        met, n = sum(level.met for level in levels), sum(level.requests for level in levels)
        return f"At {first.level:g} {unit} {met / n:.1%} of {n} requests were within the SLO."
    shares = f"{first.share:.1%}", f"{last.share:.1%}"
    went = f"went from {shares[0]} to {shares[1]}" if shares[0] != shares[1] else f"was {shares[0]} at both ends"
    return (
        f"From {first.level:g} to {last.level:g} {unit} ({len(levels)} levels) the share of requests within the SLO "
        f"{went}."
    )


def _curve_text(found: Capacity, unit: str) -> str:
    """Return where the fitted curve crosses the share that was asked for, and the share that it gives above."""
    assert found.value is not None
    curve = capacity_curve(found, np.array([MORE * found.value]))
    above = f"; at {MORE - 1:.0%} more load it gives {curve[0]:.0%}" if curve is not None else ""
    return f"The fitted curve crosses {found.goal.share * 100:g} % at {found.value:.3g} {unit}{above}."
