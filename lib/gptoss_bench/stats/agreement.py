"""Compare what client and server measured for the same requests: times, counts and decode rates. Pure.

A client's times include the network path and the server's own HTTP layer, so they may be longer than the server's. The
mean of a server's histogram is exact, its percentiles are known only to a bucket. Timings that came with each response
are compared request by request. Each row states its power: the smallest difference that it could have seen.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd

from gptoss_bench.runs import AgreementRow, ErrorBar, HistogramTimes, ServerMetrics
from gptoss_bench.stats.percentiles import Floats, non_null, percentile
from gptoss_bench.stats.row_selection import completed_rows, measured_rows, server_decode_rate

# Without a null run: assumed difference of two correct clocks on one machine, for HTTP, sockets, waiting for a core.
ASSUMED_S, ASSUMED_SHARE = 0.005, 0.05
SHORTER_S = 0.001  # then a client's time may be shorter than the server's by this
NULL_RUN_SHARE = 0.01  # a difference of less than 1 % of a time changes no figure
AGREES, DISAGREES, NO_POWER, OTHER_REQUESTS = "agrees", "disagrees", "no power", "other requests"
# The columns of the table to read, with their headings, and the verdicts that it words in another way.
COLUMNS = {
    "quantity": "quantity",
    "statistic": "statistic",
    "unit": "unit",
    "client": "client",
    "server": "server",
    "word": "verdict",
    "apart": "difference",
    "error": "allowed difference",
    "power": "smallest difference that would be seen",
    "basis": "source of the server's value",
    "allowance": "source of the allowed difference",
}
SHOWN_WORDS = {NO_POWER: "cannot tell", OTHER_REQUESTS: "not the same requests"}
JUDGED = {AGREES: True, DISAGREES: False}

FIRST_EVENT = "first event of any kind"  # the quantity of TTFT rows
STATISTICS = ("mean", "p50", "p90", "p99")

SERVER_RATE = "server: its tokens / its decode time"
CLIENT_RATE = "client: 1 / TPOT"
CLIENT_RATE_MIN = "client, at least: (events - 1) / (last - first)"
CLIENT_RATE_MAX = "client, at most: (tokens - 1) / (last - first)"


@dataclass(frozen=True, slots=True)
class _Allowance:
    """The difference that two correct clocks may have: of a time from a send, of a time between two events (s).

    A `share` of the server's time is added. `shorter_s` is by how much a client's time may be shorter than the
    server's, None for as much as it may be longer.
    """

    from_send_s: float
    between_events_s: float
    share: float
    shorter_s: float | None
    text: str


def _allowance(error_bar: ErrorBar | None) -> _Allowance:
    """Return the client's errors (p99) against the reference server, which are a null run: both clocks were right.

    They are the worse of those with idle and with contended CPUs.
    """
    bar = error_bar or ErrorBar()
    ttft_s, itl_s = (
        max((one.p99 for one in idle_and_contended if one and one.p99 is not None), default=None)
        for idle_and_contended in ((bar.ttft_s, bar.contended_ttft_s), (bar.itl_s, bar.contended_itl_s))
    )
    if ttft_s is not None and itl_s is not None:
        text = f"null run {bar.calibration}, and {NULL_RUN_SHARE:.0%}"
        return _Allowance(ttft_s, itl_s, NULL_RUN_SHARE, None, text)
    text = f"assumed, there is no null run for this load: {ASSUMED_S * 1e3:g} ms and {ASSUMED_SHARE:.0%}"
    return _Allowance(ASSUMED_S, ASSUMED_S, ASSUMED_SHARE, SHORTER_S, text)


def client_server_agreement(
    requests: pd.DataFrame, metrics: ServerMetrics | None, error_bar: ErrorBar | None = None
) -> list[AgreementRow]:
    """Return one row per quantity that both measured; no rows if the server reported nothing.

    Args:
        requests: The whole request table.
        metrics: How the server's metrics changed meanwhile, or None.
        error_bar: The client's errors in this run, from a calibration: the allowance of each row.
    """
    allowance = _allowance(error_bar)
    asked = measured_rows(requests)
    completed = asked[asked["outcome"] == "completed"]
    if completed.empty:
        return []
    rows = [*_response_timings(completed, allowance)]
    if metrics is not None:
        rows += [
            *_histograms(completed, metrics, allowance),
            *_counts(completed, metrics, all_completed=len(completed) == len(asked)),
        ]
    return rows


def agreement_table(rows: Sequence[AgreementRow]) -> pd.DataFrame:
    """Return the rows for display, with the server's value as a number or as its histogram bucket."""
    shown = [
        {**dict(row), "server": server_range_text(row), "word": SHOWN_WORDS.get(row.word, row.word)} for row in rows
    ]
    return pd.DataFrame(shown, columns=list(COLUMNS)).rename(columns=COLUMNS)


def server_range_text(row: AgreementRow) -> str:
    """Format the server's value of a row: a number, or the range that it lies in."""
    low, high = row.server_low, row.server_high
    if high is None:
        return f"over {low:.4g}"
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def decode_rates(requests: pd.DataFrame) -> pd.DataFrame:
    """Return the decode rate (tokens/s) of each completed request: a row per request and source (`source`, `tok_s`).

    Where the tokens of the first event are unknown, so is TPOT. The client's rate then lies between two bounds: every
    event brought at least one token.
    """
    rows = completed_rows(requests)
    span_s = (rows["e2e_s"] - rows["ttft_s"]).where(lambda s: s > 0)
    rates = {SERVER_RATE: server_decode_rate(rows)}
    if rows["tpot_s"].notna().any():
        rates[CLIENT_RATE] = 1 / rows["tpot_s"]
    else:
        rates[CLIENT_RATE_MIN] = (rows["output_events"] - 1) / span_s
        rates[CLIENT_RATE_MAX] = (rows["completion_tokens"].astype("Float64") - 1) / span_s
    table = pd.DataFrame(rates, dtype="float64").melt(var_name="source", value_name="tok_s")
    return table.dropna(ignore_index=True)


def _histograms(completed: pd.DataFrame, metrics: ServerMetrics, allowance: _Allowance) -> Iterator[AgreementRow]:
    """Yield rows from vLLM's histograms. Its first token is a harmony marker without text, sent as a role event."""
    decode_s = completed["done_s"] - completed["ttfc_s"]
    gaps = (completed["completion_tokens"].astype("Float64") - 1).where(lambda left: left > 0)
    client_times = {
        "ttft_s": (FIRST_EVENT, completed["ttfc_s"]),
        "e2e_s": ("whole request", completed["done_s"]),
        "decode_s": ("decode: first event to end", decode_s),
        "tpot_s": ("decode / (tokens - 1)", decode_s / gaps),
    }
    for name, (quantity, values) in client_times.items():
        server, client = metrics.times.get(name), non_null(values)
        if server and server.n and len(client):
            for statistic in STATISTICS:
                basis = f"{metrics.names[name]}: " + ("exact sum" if statistic == "mean" else "its bucket")
                # The client's decode time begins with its first event; if that is late, the time is shorter.
                between_events = name in ("decode_s", "tpot_s")
                way_s = allowance.between_events_s if between_events else allowance.from_send_s
                way_s /= float(gaps.mean()) if name == "tpot_s" else 1.0
                yield _row(
                    quantity,
                    statistic,
                    client,
                    server,
                    basis,
                    allowance=allowance,
                    way_s=way_s,
                    shorter=between_events,
                )
    if (server := metrics.times.get("itl_s")) and server.n and gaps.notna().any():
        # One gap per token, unless an engine step returns several: then the counts differ and `agrees` is None.
        count = int(gaps.sum())
        pooled = np.full(count, decode_s[gaps.notna()].sum() / count)
        basis, way_s = f"{metrics.names['itl_s']}: exact sum", allowance.between_events_s / float(gaps.mean())
        yield _row("gap between tokens", "mean", pooled, server, basis, allowance=allowance, way_s=way_s, shorter=True)


def _response_timings(completed: pd.DataFrame, allowance: _Allowance) -> Iterator[AgreementRow]:
    """Yield rows from the timings that Ollama or llama.cpp sent with each response: the median request of each side.

    gpt-oss's channel markers are tokens without text, so the client receives its first event later.
    """
    reported = completed[completed["server_source"].notna()]
    if reported.empty:
        return
    source = "+".join(sorted(reported["server_source"].unique()))
    server_s = reported["server_eval_s"].astype("float64")
    tokens = reported["server_eval_tokens"].astype("float64")
    textless_s = (tokens - reported["output_events"]).clip(lower=0) * server_s / tokens.where(tokens > 0)
    slack_s = float(textless_s.median()) if textless_s.notna().any() else 0.0
    decode_s, total_s = reported["done_s"] - reported["ttfc_s"], reported["server_total_s"].astype("float64")
    pairs = {
        "decode: first event to end": (decode_s, server_s, slack_s, allowance.between_events_s),
        "whole request": (reported["done_s"], total_s, 0.0, allowance.from_send_s),
    }
    for quantity, (client, server, slack, way_s) in pairs.items():
        both = client.notna() & server.notna()
        if both.any():
            apart = (client - server)[both]
            middle = float(server[both].median())
            error = way_s + allowance.share * middle
            shorter_s = error if allowance.shorter_s is None else allowance.shorter_s
            within = bool(-shorter_s - slack <= apart.median() <= error)
            power = error + slack
            word = DISAGREES if not within else AGREES if power <= middle else NO_POWER
            basis = f"{source} timings, request by request"
            if slack:
                basis += f"; {slack * 1e3:.3g} ms of its time is for tokens without text"
            n = int(both.sum())
            yield AgreementRow(
                quantity=quantity,
                statistic="p50",
                unit="s",
                client=float(client[both].median()),
                server_low=middle,
                server_high=middle,
                apart=float(apart.median()),
                error=error,
                agrees=JUDGED.get(word),
                client_n=n,
                server_n=n,
                basis=basis,
                power=power,
                word=word,
                allowance=allowance.text,
            )


def _counts(completed: pd.DataFrame, metrics: ServerMetrics, *, all_completed: bool) -> Iterator[AgreementRow]:
    """Yield rows from counters: exact if every request completed and the server had no other client."""
    counts = metrics.counts
    prompt = counts.get("prompt_tokens")
    if prompt is not None and metrics.source == "llama.cpp":  # it counts cached tokens separately
        prompt += counts.get("prompt_tokens_cached", 0.0)
    pairs = {
        "requests": (float(len(completed)), counts.get("requests")),
        "prompt tokens": (_sum(completed["prompt_tokens"]), prompt),
        "output tokens": (_sum(completed["completion_tokens"]), counts.get("generation_tokens")),
    }
    for quantity, (client, server) in pairs.items():
        if client is not None and server is not None:
            agrees = client == server if all_completed else None
            server_n = int(counts.get("requests", len(completed)))
            yield AgreementRow(
                quantity=quantity,
                statistic="sum",
                unit="",
                client=client,
                server_low=server,
                server_high=server,
                apart=client - server,
                error=0.0,
                agrees=agrees,
                client_n=len(completed),
                server_n=server_n,
                basis="counters: exact" if all_completed else "counters; not all completed",
                power=1.0,
                word=OTHER_REQUESTS if agrees is None else AGREES if agrees else DISAGREES,
            )


def _row(
    quantity: str,
    statistic: str,
    client: Floats,
    server: HistogramTimes,
    basis: str,
    *,
    allowance: _Allowance,
    way_s: float,
    shorter: bool,
) -> AgreementRow:
    """Compare one statistic of the client's times with the server's range. `shorter`: it may also be shorter."""
    low, high = (server.mean, server.mean) if statistic == "mean" else server.bucket(statistic)
    value = float(client.mean()) if statistic == "mean" else percentile(client, float(statistic[1:])).value
    assert value is not None and low is not None  # the caller has checked that there are samples
    apart = value - low if value < low else value - high if high is not None and value > high else 0.0
    error = way_s + allowance.share * (low if high is None else high)
    shorter_s = error if shorter or allowance.shorter_s is None else allowance.shorter_s
    power = None if high is None else high - low + error
    if len(client) != server.n:
        word = OTHER_REQUESTS
    elif not -shorter_s <= apart <= error:
        word = DISAGREES
    else:  # a row that would not have seen a difference as large as the value itself has no power
        word = NO_POWER if power is None or power > value else AGREES
    return AgreementRow(
        quantity=quantity,
        statistic=statistic,
        unit="s",
        client=value,
        server_low=low,
        server_high=high,
        apart=apart,
        error=error,
        agrees=JUDGED.get(word),
        client_n=len(client),
        server_n=server.n,
        basis=basis,
        power=power,
        word=word,
        allowance=allowance.text,
    )


def _sum(values: pd.Series) -> float | None:
    return float(np.sum(non_null(values))) if len(values) and values.notna().all() else None
