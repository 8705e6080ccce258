"""Decide all published claims, and convert the verdicts to tables, text and Markdown."""

import textwrap
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import paths
from gptoss_bench.claims.model import Evidence, RunRecord, Verdict, WriteUp, format_number
from gptoss_bench.claims.verdict_words import (
    BASES,
    CONTRADICTED,
    DOES_NOT_FIT,
    INCONSISTENT,
    MEASURED,
    NO_BASIS,
    NOT_A_MEASUREMENT,
    NOT_DELIVERED,
    OUTDATED,
    VERDICTS,
)
from gptoss_bench.memory import architectures, gpu_catalogue
from gptoss_bench.runs import EvidenceChoice, NamedEvidence, Run, choose_evidence
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_client import UsageError

BY_HAND = "named with run_ids"
PAGE_COLUMNS = ["claim", "published", "found", "verdict", "basis", "evidence", "line", "run"]
MOST_NOTABLE = 5
NOTABLE = (CONTRADICTED, INCONSISTENT, OUTDATED, DOES_NOT_FIT, NOT_A_MEASUREMENT, NOT_DELIVERED)


def decide_claims(write_up: WriteUp, runs: Iterable[RunRecord] = ()) -> list[Verdict]:
    """Return exactly one verdict for each claim, in the order of the claims."""
    evidence = Evidence(write_up, tuple(runs), architectures(), gpu_catalogue())
    return [claim.arguments.decide(claim, evidence) for claim in write_up.claims]


def evidence_for(write_up: WriteUp, results: Path = paths.RESULTS, run_ids: Iterable[str] = ()) -> EvidenceChoice:
    """Return the runs that decide the claims of a write-up, and why the other folders do not.

    With `run_ids` only these runs decide. Raises UsageError where one of them is not there.
    """
    named = {one.run: NamedEvidence(one.run, one.because, one.scenario) for one in write_up.evidence}
    ids = list(run_ids)
    for run_id in ids:
        Run.load(results / "runs" / run_id)
        named.setdefault(run_id, NamedEvidence(run_id, BY_HAND))
    wanted = [named[run_id] for run_id in ids] if ids else list(named.values())
    return choose_evidence(results, wanted, only_named=bool(ids))


def headline(verdicts: Iterable[Verdict]) -> str:
    """Return how many performance figures were measured on the published hardware."""
    figures = [verdict for verdict in verdicts if verdict.kind == "performance"]
    measured = sum(verdict.basis == MEASURED for verdict in figures)
    return f"Measured on the published hardware: {measured} of {len(figures)} performance figures"


def basis_counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many claims rest on each basis, in the order of BASES."""
    found = Counter(verdict.basis for verdict in verdicts)
    return {basis: found[basis] for basis in BASES}


def verdict_counts(verdicts: Iterable[Verdict]) -> dict[str, int]:
    """Return how many claims have each verdict, in the order of VERDICTS."""
    found = Counter(verdict.verdict for verdict in verdicts)
    return {word: found[word] for word in VERDICTS}


def counts_text(verdicts: Sequence[Verdict]) -> str:
    """Return the number of claims by basis in one sentence."""
    counts = (f"{n} {'not tested' if basis == NO_BASIS else basis}" for basis, n in basis_counts(verdicts).items() if n)
    return f"{len(verdicts)} claims: {', '.join(counts)}"


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
    """Return the verdicts of a table that `verdicts_to_table` made. Raises UsageError for one of an earlier kit."""
    if "basis" not in table:
        raise UsageError("these verdicts have no basis: an earlier kit decided them; run the verdicts notebook again")
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
            "line": verdict.lines,
            "claim": verdict.says,
            "published": verdict.published,
            "found": _found(verdict),
            "basis": verdict.basis_text,
            "verdict": verdict.text,
            "evidence": verdict.evidence,
            "run": verdict.run_id or "",
        }
        for verdict in verdicts
    }
    return pd.DataFrame.from_dict(rows, orient="index", columns=PAGE_COLUMNS)


def derived_page(write_up: WriteUp) -> pd.DataFrame:
    """Return the numbers that the kit derived, indexed by their number: value, steps, and what else is known."""
    evidence = Evidence(write_up, (), architectures(), gpu_catalogue())
    rows = {}
    for one in write_up.derived:
        figures = {name: evidence.printed(figure_id) for name, figure_id in one.inputs.items()}
        found = CONSISTENCY_CHECKS[one.check](**figures)
        rows[one.derived_id.partition("-")[0]] = {
            "derived by us": one.says,
            "value": f"{one.value:g} {one.unit}",
            "how": "; ".join(found.steps),
            "what else is known": one.beside,
        }
    return pd.DataFrame.from_dict(rows, orient="index")


def _found(verdict: Verdict) -> str:
    if verdict.measured is None or not verdict.published:
        return ""
    interval = verdict.interval
    return format_number(verdict.measured) + (
        f" [{format_number(interval[0])}, {format_number(interval[1])}]" if interval else ""
    )


def notable_verdicts(verdicts: Iterable[Verdict]) -> list[Verdict]:
    """Return the verdicts to read first: measurements on the published hardware, then what is contradicted."""
    found = [verdict for verdict in verdicts if verdict.basis == MEASURED or verdict.verdict in NOTABLE]
    order = {word: place for place, word in enumerate(NOTABLE)}
    return sorted(found, key=lambda one: (one.basis != MEASURED, order.get(one.verdict, len(order))))[:MOST_NOTABLE]


def verdict_text(verdicts: Sequence[Verdict], width: int = 100) -> str:
    """Return the verdicts for a terminal of `width` columns: the headline, the counts by basis, and each claim.

    A claim has its number and verdict, then a paragraph of basis, claim and evidence.
    """
    verdict_width = max(map(len, VERDICTS))
    margin = " " * (verdict_width + 7)
    lines = []
    for verdict in verdicts:
        published = f" [{verdict.published}]" if verdict.published else ""
        basis = "" if verdict.basis == NO_BASIS else f"{verdict.basis_text}: "
        more = f"{verdict.detail.lstrip(' ,:')}; " if verdict.detail else ""
        found = f"{more}needs {verdict.needs}; {verdict.evidence}" if verdict.needs else more + verdict.evidence
        body = textwrap.wrap(f"{verdict.says}{published} – {basis}{found}", max(24, width - len(margin)))
        head = f"{verdict.number:<5}{verdict.verdict:<{verdict_width}}  "
        lines += [head + body[0], *(margin + line for line in body[1:])]
    top = [*textwrap.wrap(headline(verdicts), max(24, width)), *textwrap.wrap(counts_text(verdicts), max(24, width))]
    return "\n".join([*top, "", *lines])
