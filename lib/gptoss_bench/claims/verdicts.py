"""All verdicts on the published claims, and the forms that they are shown in: claims and runs in, verdicts out."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from typing import Any

import pandas as pd

from gptoss_bench.claims.deciders import DECIDERS
from gptoss_bench.claims.model import DECIDED, VERDICTS, Claim, Evidence, RunRecord, Verdict, format_number
from gptoss_bench.claims.schema import load_claims, parse_claims
from gptoss_bench.memory import architectures, gpu_catalogue

__all__ = [
    "Claim",
    "RunRecord",
    "Verdict",
    "judge_claims",
    "load_claims",
    "parse_claims",
    "verdict_counts",
    "verdict_page",
    "verdict_text",
    "verdicts_from_table",
    "verdicts_to_table",
]

HELD = "\u00a0"  # a space at which textwrap does not break


def judge_claims(claims: Sequence[Claim], runs: Iterable[RunRecord] = ()) -> list[Verdict]:
    """Exactly one verdict a claim, in the order of the claims."""
    evidence = Evidence({claim.claim_id: claim for claim in claims}, tuple(runs), architectures(), gpu_catalogue())
    return [DECIDERS[claim.judge](claim, evidence, **claim.arguments) for claim in claims]


def verdict_counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """How many claims got each verdict, all words in their order."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {word: found[word] for word in VERDICTS}


def verdicts_to_table(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """One row a verdict: the fields of `Verdict`, the interval as two columns, all of types that Parquet keeps."""
    rows = []
    for verdict in verdicts:
        row = {field.name: getattr(verdict, field.name) for field in fields(verdict)}
        row["interval_low"], row["interval_high"] = row.pop("interval") or (None, None)
        rows.append(row)
    numbers = dict.fromkeys(("measured", "interval_low", "interval_high"), "float64")
    return pd.DataFrame(rows).astype(numbers | dict.fromkeys(("needs", "run_id", "label"), "string"))


def verdicts_from_table(table: pd.DataFrame) -> list[Verdict]:
    """The verdicts that `to_table` made a table of."""
    verdicts = []
    for row in table.to_dict("records"):
        known: dict[str, Any] = {str(name): None if pd.isna(value) else value for name, value in row.items()}
        interval = known.pop("interval_low"), known.pop("interval_high")
        verdicts.append(Verdict(interval=None if None in interval else interval, **known))
    return verdicts


def verdict_page(verdicts: Iterable[Verdict]) -> pd.DataFrame:
    """The verdicts as a reader wants them, indexed by the claim's number; every cell is text, empty where unknown."""
    rows = {
        verdict.claim_id.partition("-")[0]: {
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
    """The verdicts for a terminal of `width` columns: number, verdict, and in one paragraph claim and finding.

    Where nothing could be tested, what is needed stands for the finding.
    """
    words = max(map(len, VERDICTS))
    margin = " " * (words + 7)
    lines = []
    for verdict in verdicts:
        published = f" [{verdict.published}]" if verdict.published else ""
        # Not to be torn apart at the end of a line.
        mark = f"{verdict.label}: ".replace(" ", HELD, verdict.label.count(" ")) if verdict.label else ""
        found = f"needs {verdict.needs}" if verdict.needs else mark + verdict.evidence
        body = textwrap.wrap(f"{verdict.says}{published} – {found}", max(24, width - len(margin)))
        head = f"{verdict.claim_id.partition('-')[0]:<5}{verdict.verdict:<{words}}  "
        lines += [head + body[0].replace(HELD, " "), *(margin + line.replace(HELD, " ") for line in body[1:])]
    return "\n".join([*lines, "", *textwrap.wrap(_counted(verdicts), max(24, width))])


def verdict_markdown(verdicts: Iterable[Verdict]) -> str:
    """The claims that were decided, as a Markdown table, and a line that counts all."""
    every = list(verdicts)
    rows = ["| claim | published | verdict | why |", "|---|---|---|---|"]
    for verdict in every:
        if verdict.verdict in DECIDED:
            why = f"{verdict.label}: {verdict.evidence}" if verdict.label else verdict.evidence
            cells = (verdict.says, verdict.published, f"**{verdict.verdict}**", why)
            rows.append("| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |")
    return "\n".join([*rows, "", _counted(every)])


def _counted(verdicts: Sequence[Verdict]) -> str:
    counts = (f"{n} {word}" for word, n in verdict_counts(verdicts).items() if n)
    return f"{len(verdicts)} claims: {', '.join(counts)}"
