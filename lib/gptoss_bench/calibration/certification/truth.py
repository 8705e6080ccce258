"""Join a tool's requests with the send log of the reference server, and compute the tool's errors."""

import time
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import pandas as pd

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.stats import non_null
from gptoss_client import NS_PER_S

SLACK_NS = 50_000_000  # a tool may note its send this much after the server got the request (threads, wall clocks)
SAME_CLOCK_NS = 600 * NS_PER_S  # times that are further apart are of another clock
FIRST_EVENTS = {
    "role_s": "the role chunk",
    "first_s": "the first token",
    "answer_s": "the first token of the answer, after the reasoning",
    "last_s": "the last token, so it does not see the stream",
}


def true_streams(log: pd.DataFrame, plan: ReferencePlan) -> pd.DataFrame:
    """Return what the server did, one row per reply, by stream number, in the order of their requests.

    Columns: `asked_ns`; from there to the send of `role_s`, `first_s` (first token), `answer_s` (first token of the
    answer), `last_s` (last token), in s; `tpot_s` (mean gap per token), `tokens` and `outputs` (events with tokens). A
    reply that was not streamed has `last_s` and `tokens` only.
    """
    asked_ns = log.groupby("stream")["asked_ns"].first()
    after = log.assign(after_s=(log["sent_ns"] - log["asked_ns"]) / NS_PER_S)
    outputs = after[after["output"]].sort_values(["stream", "event"])
    thinking = 0 if plan.reasoning == "none" else round(-(-plan.tokens // plan.tokens_per_event) * plan.reasoning_share)
    answers = outputs[outputs.groupby("stream").cumcount() >= thinking]
    by_stream = outputs.groupby("stream")
    found = pd.DataFrame(
        {
            "asked_ns": asked_ns,
            "role_s": after[after["kind"] == "role"].groupby("stream")["after_s"].first(),
            "first_s": by_stream["after_s"].first(),
            "answer_s": answers.groupby("stream")["after_s"].first(),
            "last_s": by_stream["after_s"].last(),
            "tokens": by_stream["tokens"].sum(),
            "outputs": by_stream["event"].count(),
        }
    )
    whole = after[after["kind"] == "body"].set_index("stream")
    found["last_s"] = found["last_s"].fillna(whole["after_s"])
    found["tokens"] = found["tokens"].fillna(whole["tokens"])
    found = found[found["tokens"].notna()].sort_values("asked_ns")
    first_tokens = by_stream["tokens"].first().reindex(found.index)
    gaps = (found["tokens"] - first_tokens).where(lambda count: count > 0)
    return found.assign(tpot_s=(found["last_s"] - found["first_s"]) / gaps)


def true_gaps_s(log: pd.DataFrame, streams: pd.Index) -> "pd.Series[float]":
    """Return the gaps between the sends of the tokens of these streams (s), pooled."""
    outputs = log[log["output"] & log["stream"].isin(streams)].sort_values(["stream", "event"])
    return (outputs.groupby("stream")["sent_ns"].diff() / NS_PER_S).dropna()


@dataclass(frozen=True, slots=True)
class Matched:
    """Streams by request_id; the streams before the first request of the report; and those that it does not have."""

    streams: "pd.Series[int]"
    warmup: list[int]
    lost: list[int]


def match_by_ids(streams: "pd.Series[int]", truth: pd.DataFrame) -> Matched:
    """Match requests whose stream is known from the bytes of the reply."""
    known = streams[streams.isin(truth.index)]
    first_ns = truth["asked_ns"].reindex(known).min() if len(known) else 0
    rest = truth[~truth.index.isin(known)]
    early = rest["asked_ns"] < first_ns
    return Matched(known, list(rest.index[early]), list(rest.index[~early]))


def match_by_time(requests: pd.DataFrame, truth: pd.DataFrame) -> Matched:
    """Match requests with streams in the order of sending; each request with the earliest stream that can be its own.

    The send times are on the monotonic or the wall clock of this machine. If they are on neither, the last request of
    the report is the last stream, and what is left over at the beginning was sent for warm-up.
    """
    sends = requests.dropna(subset=["sent_ns"]).sort_values("sent_ns", kind="stable")
    asked: npt.NDArray[np.int64] = truth["asked_ns"].to_numpy(dtype="int64")
    numbers = [int(number) for number in truth.index]
    if not len(sends) or not numbers:
        return Matched(pd.Series(dtype="int64", name="stream"), [], numbers)
    sent: npt.NDArray[np.int64] = sends["sent_ns"].to_numpy(dtype="int64")
    by_order = int(asked[max(len(asked) - len(sent), 0)] - sent[0])
    known = (0, time.perf_counter_ns() - time.time_ns())
    offset_ns = next((offset for offset in known if abs(offset - by_order) < SAME_CLOCK_NS), by_order)
    found, taken, at = {}, set(), 0
    for request_id, when in zip(sends["request_id"], sent + offset_ns - SLACK_NS, strict=True):
        while at < len(asked) and asked[at] < when:
            at += 1
        if at == len(asked):
            break
        found[request_id] = numbers[at]
        taken.add(at)
        at += 1
    first = min(taken) if taken else 0
    return Matched(
        pd.Series(found, dtype="int64", name="stream"),
        numbers[:first],
        [number for place, number in enumerate(numbers) if place > first and place not in taken],
    )


def first_event(reported_s: "pd.Series[float]", truth: pd.DataFrame) -> str | None:
    """Return the column of `truth` that the reported TTFTs are nearest to at the median; None without TTFTs.

    `truth` has the index of `reported_s`, or is compared by its medians if the tool gives only percentiles.
    """
    apart = {}
    for name in FIRST_EVENTS:
        true = truth[name].reindex(reported_s.index) if len(reported_s) > 1 else truth[name].median()
        values = non_null((reported_s - true).abs())
        if len(values):
            apart[name] = float(np.median(values))
    return min(apart, key=lambda name: apart[name]) if apart else None
