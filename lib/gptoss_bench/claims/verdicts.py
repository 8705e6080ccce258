"""Decide all published claims, and convert the verdicts to tables, text and Markdown."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from gptoss_bench.claims.model import Claim, Evidence, RunRecord, Verdict, format_number
from gptoss_bench.claims.verdict_words import VERDICTS
from gptoss_bench.memory import architectures, gpu_catalogue

NO_BREAK_SPACE = "\u00a0"  # textwrap does not break a line there


def decide_claims(claims: Sequence[Claim], runs: Iterable[RunRecord] = ()) -> list[Verdict]:
    """Return exactly one verdict for each claim, in the order of the claims."""
    evidence = Evidence({claim.claim_id: claim for claim in claims}, tuple(runs), architectures(), gpu_catalogue())
    return [claim.arguments.decide(claim, evidence) for claim in claims]


def verdict_counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict, in the order of VERDICTS."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {word: found[word] for word in VERDICTS}


def verdicts_to_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Return one row per verdict with the fields of `Verdict`, the interval as two columns, in types of Parquet."""
    rows = []
    for verdict in verdicts:
        row = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
        row["interval_low"], row["interval_high"] = row.pop("interval") or (None, None)
        rows.append(row)
    numbers = dict.fromkeys(("measured", "interval_low", "interval_high"), "float64")
    return pd.DataFrame(rows).astype(numbers | dict.fromkeys(("needs", "run_id", "label"), "string"))


def verdicts_from_table(table: pd.DataFrame) -> list[Verdict]:
    """Return the verdicts of a table that `verdicts_to_table` made."""
    verdicts = []
    for row in table.to_dict("records"):
        values: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        interval = values.pop("interval_low"), values.pop("interval_high")
        verdicts.append(Verdict(interval=None if None in interval else interval, **values))
    return verdicts


def verdict_page(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """Return the verdicts as a table to read, indexed by the claim's number; every cell is text, "" where unknown."""
    rows = {
        verdict.number: {
            "claim": verdict.says,
            "published": verdict.published,
            "found": _found(verdict),
            "verdict": verdict.text,
            "evidence": f"{verdict.label}: {verdict.evidence}" if verdict.label else verdict.evidence,
            "run": verdict.run_id or "",
        }
        for verdict in verdicts
    }
    return pd.DataFrame.from_dict(rows, orient="index")


def _found(verdict: Verdict) -> str:
    if verdict.measured is None or not verdict.published:
        return ""
    interval = verdict.interval
    return format_number(verdict.measured) + (
        f" [{format_number(interval[0])}, {format_number(interval[1])}]" if interval else ""
    )


def verdict_text(verdicts: Sequence[Verdict], width: int = 100) -> str:
    """Return the verdicts for a terminal of `width` columns: number, verdict, and a paragraph of claim and evidence.

    Where a claim is not testable, the paragraph has what a test needs instead of the evidence.
    """
    verdict_width = max(map(len, VERDICTS))
    margin = " " * (verdict_width + 7)
    lines = []
    for verdict in verdicts:
        published = f" [{verdict.published}]" if verdict.published else ""
        label = f"{verdict.label}: ".replace(" ", NO_BREAK_SPACE, verdict.label.count(" ")) if verdict.label else ""
        found = f"needs {verdict.needs}" if verdict.needs else label + verdict.evidence
        body = textwrap.wrap(f"{verdict.says}{published} – {found}", max(24, width - len(margin)))
        head = f"{verdict.number:<5}{verdict.verdict:<{verdict_width}}  "
        lines += [
            head + body[0].replace(NO_BREAK_SPACE, " "),
            *(margin + line.replace(NO_BREAK_SPACE, " ") for line in body[1:]),
        ]
    return "\n".join([*lines, "", *textwrap.wrap(_counted(verdicts), max(24, width))])


def _counted(verdicts: Sequence[Verdict]) -> str:
    counts = (f"{n} {word}" for word, n in verdict_counts(verdicts).items() if n)
    return f"{len(verdicts)} claims: {', '.join(counts)}"
