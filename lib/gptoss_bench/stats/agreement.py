"""Client and server beside each other: do two clocks tell the same of the same requests, and within which error?

A client stands outside: its times hold the way to the server and back, so they may be longer than the server's by
that way, and never shorter. Where the server keeps a histogram, its mean is exact and its percentiles lie somewhere in
a bucket. Where its timings came with each response, request is held against request.
"""
# MERGED: The decode rate of each request by the server's word and by the client's.

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.stats.percentiles import Floats, known, measured_rows, percentile

# What may lie between two honest clocks of one request on one machine: HTTP, sockets, a process that has to wait for
# its core. An assumption, and printed as the error of each row.
WAY_S, WAY_SHARE = 0.005, 0.05
CLOCK_S = 0.001  # how much shorter than the server's a client's time may be

FIRST = "first event of any kind"
STATISTICS = ("mean", "p50", "p90", "p99")


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One quantity by both witnesses, in `unit`. `apart` is the client's minus the nearest end of the server's span.

    `error` is by how much the client may lie above it. `agrees` is None where the two did not see the same requests.
    """

    quantity: str
    statistic: str
    unit: str
    client: float | None
    server_low: float | None
    server_high: float | None
    apart: float | None
    error: float | None
    agrees: bool | None
    client_n: int
    server_n: int
    basis: str


def client_server_agreement(requests: pd.DataFrame, window: Mapping[str, Any] | None) -> list[dict[str, Any]]:
    """All rows that these witnesses allow, as JSON types; none where the server told nothing.

    `window` is `prometheus.window` over the measured phase, None without one; `requests` is the whole request table.
    """
    asked = measured_rows(requests)
    completed = asked[asked["outcome"] == "completed"]
    if completed.empty:
        return []
    rows = [*_joined(completed)]
    if window and "times" in window:
        rows += [
            *_histograms(completed, window),
            *_counts(completed, window, all_completed=len(completed) == len(asked)),
        ]
    return [asdict(row) for row in rows]


def agreement_table(rows: list[dict[str, Any]]) -> pd.DataFrame:
    """The rows to be read: what the server says as a number, or as the bucket that the number lies in."""
    columns = ["quantity", "statistic", "unit", "client", "server", "apart", "error", "agrees", "basis"]
    return pd.DataFrame([{"server": allowance_text(row), **row} for row in rows], columns=columns)


def allowance_text(row: Mapping[str, Any]) -> str:
    """What the server says in one row, in words."""
    low, high = row["server_low"], row["server_high"]
    if high is None:
        return f"over {low:.4g}"
    return f"{low:.4g}" if low == high else f"{low:.4g} to {high:.4g}"


def _histograms(completed: pd.DataFrame, window: Mapping[str, Any]) -> Iterator[AgreementRow]:
    """The histograms of vLLM. Its first token is a mark of harmony, which shows no text: it comes as a role chunk."""
    decode_s = completed["done_s"] - completed["ttfc_s"]
    gaps = (completed["completion_tokens"].astype("Float64") - 1).where(lambda left: left > 0)
    ours = {
        "ttft_s": (FIRST, completed["ttfc_s"]),
        "e2e_s": ("whole request", completed["done_s"]),
        "decode_s": ("decode: first event to end", decode_s),
        "tpot_s": ("decode / (tokens - 1)", decode_s / gaps),
    }
    for name, (words, values) in ours.items():
        server, client = window["times"].get(name), known(values)
        if server and server["n"] and len(client):
            for statistic in STATISTICS:
                basis = f"{window['names'][name]}: " + ("exact sum" if statistic == "mean" else "its bucket")
                # A decode time begins with the client's first event, which may be late: then it is the shorter one.
                per_token_s = WAY_S / float(gaps.mean()) if name == "tpot_s" else WAY_S
                shorter = name in ("decode_s", "tpot_s")
                yield _row(words, statistic, client, server, basis, way_s=per_token_s, shorter=shorter)
    if (server := window["times"].get("itl_s")) and server["n"] and gaps.notna().any():
        # One gap a token, as long as no step of the engine brings several: then the counts differ, and are not judged.
        count = int(gaps.sum())
        pooled = np.full(count, decode_s[gaps.notna()].sum() / count)
        basis, way_s = f"{window['names']['itl_s']}: exact sum", WAY_S / float(gaps.mean())
        yield _row("gap between tokens", "mean", pooled, server, basis, way_s=way_s, shorter=True)


def _joined(completed: pd.DataFrame) -> Iterator[AgreementRow]:
    """Timings that came with each response, from Ollama or llama.cpp: the median request by each witness.

    Marks of gpt-oss's channels are tokens that show no text, so a client sees the first of its tokens later.
    """
    reported = completed[completed["server_source"].notna()]
    if reported.empty:
        return
    source = "+".join(sorted(reported["server_source"].unique()))
    server_s = reported["server_eval_s"].astype("float64")
    tokens = reported["server_eval_tokens"].astype("float64")
    textless_s = (tokens - reported["output_events"]).clip(lower=0) * server_s / tokens.where(tokens > 0)
    slack_s = float(textless_s.median()) if textless_s.notna().any() else 0.0
    pairs = {
        "decode: first event to end": (reported["done_s"] - reported["ttfc_s"], server_s, slack_s),
        "whole request": (reported["done_s"], reported["server_total_s"].astype("float64"), 0.0),
    }
    for words, (client, server, slack) in pairs.items():
        both = client.notna() & server.notna()
        if both.any():
            apart = (client - server)[both]
            middle = float(server[both].median())
            error = WAY_S + WAY_SHARE * middle
            within = bool(-CLOCK_S - slack <= apart.median() <= error)
            basis = f"{source} timings, request by request"
            if slack:
                basis += f"; {slack * 1e3:.3g} ms of its tokens show no text"
            n = int(both.sum())
            yield AgreementRow(
                *(words, "p50", "s", float(client[both].median()), middle, middle, float(apart.median()), error),
                *(within, n, n, basis),
            )


def _counts(completed: pd.DataFrame, window: Mapping[str, Any], *, all_completed: bool) -> Iterator[AgreementRow]:
    """Counters: no error at all, so long as every request completed and nobody else asked the server."""
    counts = window["counts"]
    prompt = counts.get("prompt_tokens")
    if prompt is not None and window["source"] == "llama.cpp":  # it counts those from its cache apart
        prompt += counts.get("prompt_tokens_cached", 0.0)
    pairs = {
        "requests": (float(len(completed)), counts.get("requests")),
        "prompt tokens": (_sum(completed["prompt_tokens"]), prompt),
        "output tokens": (_sum(completed["completion_tokens"]), counts.get("generation_tokens")),
    }
    for words, (client, server) in pairs.items():
        if client is not None and server is not None:
            agrees = client == server if all_completed else None
            server_n = int(counts.get("requests", len(completed)))
            yield AgreementRow(
                *(words, "sum", "", client, server, server, client - server, 0.0, agrees),
                *(len(completed), server_n, "counters: exact" if all_completed else "counters; not all completed"),
            )


def _row(
    quantity: str,
    statistic: str,
    client: Floats,
    server: Mapping[str, Any],
    basis: str,
    *,
    way_s: float,
    shorter: bool,
) -> AgreementRow:
    """The client's values beside the server's span. `shorter`: the client's time may also be the shorter one."""
    low, high = (server["mean"],) * 2 if statistic == "mean" else server[statistic]
    value = float(client.mean()) if statistic == "mean" else percentile(client, float(statistic[1:])).value
    assert value is not None  # it has samples
    apart = value - low if value < low else value - high if high is not None and value > high else 0.0
    error = way_s + WAY_SHARE * (low if high is None else high)
    agrees = bool(-(error if shorter else CLOCK_S) <= apart <= error) if len(client) == server["n"] else None
    return AgreementRow(
        quantity, statistic, "s", value, low, high, apart, error, agrees, len(client), server["n"], basis
    )


def _sum(values: pd.Series) -> float | None:
    return float(np.sum(known(values))) if len(values) and values.notna().all() else None


SERVER = "server: its tokens / its decode time"
CLIENT = "client: 1 / TPOT"
AT_LEAST = "client, at least: (events - 1) / (last - first)"
AT_MOST = "client, at most: (tokens - 1) / (last - first)"


def decode_rates(requests: pd.DataFrame) -> pd.DataFrame:
    """Decode rate (tokens/s) of each completed measured request, a row a request and witness: `witness`, `tok_s`.

    Where the tokens of the first event are not known, and so TPOT is not, the client's rate lies between two bounds:
    each event after the first brought one token at least, and the first one brought one at least.
    """
    rows = measured_rows(requests)
    rows = rows[rows["outcome"] == "completed"]
    span_s = (rows["e2e_s"] - rows["ttft_s"]).where(lambda s: s > 0)
    rates = {SERVER: rows["server_eval_tokens"].astype("Float64") / rows["server_eval_s"].where(lambda s: s > 0)}
    if rows["tpot_s"].notna().any():
        rates[CLIENT] = 1 / rows["tpot_s"]
    else:
        rates[AT_LEAST] = (rows["output_events"] - 1) / span_s
        rates[AT_MOST] = (rows["completion_tokens"].astype("Float64") - 1) / span_s
    table = pd.DataFrame(rates, dtype="float64").melt(var_name="source", value_name="tok_s")
    return table.dropna(ignore_index=True)
