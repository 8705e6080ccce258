"""Read the figures on methods: the errors of the client, the published method on trial, and the verdicts."""

from collections.abc import Mapping, Sequence

import pandas as pd

from gptoss_bench.calibration import KIT_CLIENT
from gptoss_bench.claims import Verdict, counts_text
from gptoss_bench.runs import MethodTrialRow
from gptoss_bench.stats import CLIENT_BOUND_CPU_SHARE


def error_by_load(levels: pd.DataFrame) -> str:
    """Return the errors of each client at its highest load with idle CPUs; `levels` as the figure has it."""
    plain = levels[(levels["kind"] == "plain") & (levels["condition"] == "idle")]
    text = []
    for client, rows in plain.groupby("client", sort=False):
        last = rows.sort_values("offered_events_s").iloc[-1]
        errors = []
        for name, title in (("ttft", "TTFT"), ("itl", "ITL")):
            for percentile in ("p99", "p50"):
                error_ms = last[f"{name}_error_{percentile}_ms"]
                if pd.notna(error_ms):
                    errors.append(f"{error_ms:.3g} ms ({title}, {percentile})")
                    break
        errors = errors or ["no percentile is resolved"]
        text.append(f"{_named(client)}: {' and '.join(errors)} at {last['offered_events_s']:,.0f} events/s")
    return f"Errors at the highest load of each client, with idle CPUs: {'; '.join(text)}."


def error_by_kind(levels: pd.DataFrame) -> str:
    """Return the kind of load with the largest median errors of the kit's client; `levels` as the figure has it."""
    rows = levels[(levels["client"] == KIT_CLIENT) & levels["itl_error_p50_ms"].notna()]
    kinds = [kind for kind in dict.fromkeys(rows["kind"]) if kind != "plain"]
    if not kinds:
        return "No special kind of load was measured."
    level = rows[rows["kind"] != "plain"]["offered_events_s"].iloc[0]
    rows = rows[(rows["offered_events_s"] == level) & (rows["condition"] == "idle")]
    if rows.empty:
        return "No kind of load was measured with idle CPUs."
    worst = rows.loc[rows["itl_error_p50_ms"].astype("float64").idxmax()]
    return (
        f"With idle CPUs the largest median ITL error is that of the kind {worst['kind']}: "
        f"{worst['itl_error_p50_ms']:.3g} ms, of {len(rows)} kinds."
    )


def cpu_by_load(levels: pd.DataFrame) -> str:
    """Return the share of a core of each client at its highest load, and from which load one is over the limit."""
    plain = levels[(levels["kind"] == "plain") & (levels["condition"] == "idle")].sort_values("offered_events_s")
    text = []
    for client, rows in plain.groupby("client", sort=False):
        last = rows.iloc[-1]
        over = rows[rows["cpu_share"] > CLIENT_BOUND_CPU_SHARE]
        limit = (
            f"over {CLIENT_BOUND_CPU_SHARE:.0%} from {over['offered_events_s'].iloc[0]:,.0f} events/s on"
            if len(over)
            else f"never over {CLIENT_BOUND_CPU_SHARE:.0%}"
        )
        text.append(
            f"{_named(client)} needs {last['cpu_share']:.0%} of a core at {last['offered_events_s']:,.0f} events/s, "
            f"{limit}"
        )
    joined = "; ".join(text)
    return f"{joined[:1].upper()}{joined[1:]}."


def printed_and_true_ttft(rows: Sequence[MethodTrialRow]) -> str:
    """Return by how much the printed TTFT is wrong in each case, and whether it follows the true one at all."""
    known = [(row, row.printed_ttft_s.p50) for row in rows if row.printed_ttft_s.p50]
    listed = "; ".join(f"{row.case}: {printed / row.first_token_s:.2f} times" for row, printed in known)
    kit = max(abs(row.kit_ttft_s - row.first_token_s) for row in rows)
    return (
        f"Printed TTFT divided by the true one, by case: {listed}. This kit's client is never more than "
        f"{kit * 1e3:.2g} ms away (its median of a few streamed replies, against the median of the server's log)."
    )


def verdict_overview(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims by basis, and how many rest on none."""
    return f"{counts_text(verdicts)}."


def ttft_over_latency(published: Mapping[str, tuple[float, float]], share: float) -> str:
    """Return how far each published pair is from the line of the constant share; `published` as the figure has it."""
    listed = ", ".join(f"{ttft / latency:.4f} at {name}" for name, (latency, ttft) in published.items())
    off = {name: abs(ttft / latency - share) for name, (latency, ttft) in published.items()}
    worst = max(off, key=lambda name: off[name])
    return (
        f"Published TTFT divided by published latency: {listed}; the line has {share:.4f}. The largest distance is "
        f"that of {worst}, {off[worst] / share:.1%} of the line."
    )


def _named(client: object) -> str:
    return "this kit" if client == KIT_CLIENT else str(client)
