"""Summarise the conversations of a load: how far they came, and the first turn against later ones. Pure."""

from collections.abc import Callable

import numpy as np
import pandas as pd

from gptoss_bench.runs import ConversationSummary, Median, TurnSummary
from gptoss_bench.stats.steady_state import Window
from gptoss_client import NS_PER_S


def conversation_summary(
    requests: pd.DataFrame, window: Window | None, median_ttft: Callable[[pd.DataFrame], Median]
) -> ConversationSummary | None:
    """Return what became of the conversations of a phase; None if its requests belong to none.

    Args:
        requests: Request table of the phase.
        window: The window in which conversations in progress are counted.
        median_ttft: Returns the median TTFT of completed requests.
    """
    turns = requests[requests["turn"].notna()]
    if turns.empty:
        return None
    completed = turns["outcome"].eq("completed").groupby(turns["conversation"]).all()

    def summary(rows: pd.DataFrame) -> TurnSummary:
        return _turn_summary(rows, median_ttft)

    return ConversationSummary(
        conversations=len(completed),
        completed=int(completed.sum()),
        in_progress=None if window is None else _in_progress(turns, window),
        first=summary(turns[turns["turn"] == 1]),
        later=summary(turns[turns["turn"] > 1]),
        turns=[summary(rows) for _, rows in turns.groupby(turns["turn"].astype("int64"))],
    )


def think_s(requests: pd.DataFrame) -> "pd.Series[float]":
    """Return how long the user of each request thought before it (s), 0 for one that is no later turn."""
    turns = requests[requests["turn"].notna()].sort_values(["conversation", "turn"])
    answered_ns = turns.groupby("conversation")["done_ns"].shift()
    thought_s = (turns["scheduled_ns"] - answered_ns).astype("Float64") / NS_PER_S
    return thought_s.where(turns["sent_ns"].notna()).reindex(requests.index).fillna(0.0).astype("float64")


def _in_progress(turns: pd.DataFrame, window: Window) -> float:
    """Return the mean number of conversations, from the first turn on to the last answer, the thinking included."""
    sent = turns[turns["sent_ns"].notna()].groupby("conversation")
    begin, end = sent["scheduled_ns"].min(), sent["done_ns"].max()
    inside = end.clip(upper=window[1]) - begin.clip(lower=window[0])
    return float(inside.clip(lower=0).sum() / (window[1] - window[0]))


def _turn_summary(rows: pd.DataFrame, median_ttft: Callable[[pd.DataFrame], Median]) -> TurnSummary:
    completed = rows[rows["outcome"] == "completed"]
    # OpenAI's usage has the cached tokens; where it has not, llama.cpp's own timings have them.
    cached = completed["cached_tokens"].fillna(completed["server_cached_tokens"])
    prompt = completed["prompt_tokens"]
    known = cached.notna() & prompt.notna()
    total = float(prompt[known].sum())
    lengths = prompt.dropna().to_numpy("float64")
    return TurnSummary(
        requests=len(rows),
        completed=len(completed),
        ttft_s=median_ttft(completed),
        prompt_tokens=float(np.mean(lengths)) if len(lengths) else None,
        cached_share=float(cached[known].sum()) / total if total else None,
    )
