"""List the runs on disk as one table, and filter it."""

import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import paths
from gptoss_bench.runs.finding import read_findings
from gptoss_bench.runs.folder import Run, new_run_id
from gptoss_bench.runs.run_ids import REPEATS, can_be_repeat_group
from gptoss_bench.runs.summary import LoadSummary
from gptoss_client import UsageError, one_line

RUN_COLUMNS = (
    *("run", "scenario", "status", "label", "engine", "model", "concurrency", "offered_req_s"),
    *("completed", "failed"),
    *("ttft_p50_s", "ttft_p99_s", "itl_p50_ms", "itl_p99_ms", "output_tok_s", "output_tok_s_total"),
    *("lint", "client_bound", "verdicts"),
)

COUNTS = ("concurrency", "completed", "failed")


def readable_runs(results: Path, pattern: str = "*") -> Iterator[Run]:
    """Yield the runs whose id matches a glob pattern, in the order of their ids.

    A folder that is broken or of a newer kit is left out, with a warning that names it.
    """
    for file in sorted((results / "runs").glob(f"{pattern}/manifest.json")):
        try:
            yield Run.load(file.parent)
        except UsageError as error:
            logging.getLogger(__name__).warning("left out a run that cannot be read: %s", error)


def runs_table(results: Path = paths.RESULTS) -> pd.DataFrame:
    """Return one row per run, newest first, with RUN_COLUMNS. An unreadable folder has its error as status."""
    decided: dict[str, str] = {}  # by run, from the newest verdicts
    rows = []
    for file in sorted((results / "runs").glob("*/manifest.json"), reverse=True):
        try:
            run = Run.load(file.parent)
        except UsageError as error:
            rows.append({"run": one_line(file.parent.name), "status": f"not readable: {error}"})
            continue
        if run.has_main_verdicts and not decided and (run.path / "verdicts.parquet").exists():
            with suppress(UsageError, KeyError):
                decided = _verdicts_by_run(run.table("verdicts"))
        rows.append(_row(run))
    table = pd.DataFrame(rows, columns=RUN_COLUMNS)
    numbers = [name for name in RUN_COLUMNS if name.endswith(("_s", "_ms")) or name in COUNTS]
    table[numbers] = table[numbers].astype("float64")
    table["verdicts"] = [decided.get(str(run_id), "") for run_id in table["run"]]
    return table


def repeated_runs(results: Path, group: str) -> list[Path]:
    """Return the folders of the complete runs of a repeat group, oldest first; empty if there is no such group."""
    if not can_be_repeat_group(group):
        return []
    runs = [run for run in readable_runs(results) if run.manifest.repeat_group == group]
    return [run.path for run in runs if run.manifest.status == "complete"]


def new_repeat_group(repeats: int) -> str:
    """Return a new id for the `repeats` runs of one load, "" for a single run. Raises UsageError for fewer than 1."""
    if repeats < 1:
        raise UsageError(f"repeats must be 1 or more, not {repeats}; 3 give an interval over the runs")
    return new_run_id(REPEATS) if repeats > 1 else ""


def filter_runs(table: pd.DataFrame, *, words: str = "", by: str = "run", ascending: bool = False) -> pd.DataFrame:
    """Return the rows that contain every one of these words, sorted by one column with unknown values last.

    Raises UsageError where there is no such column.
    """
    if by not in table.columns:
        raise UsageError(f"there is no column {by!r}: choose one of {', '.join(table.columns)}")
    text = table.astype("string").fillna("").agg(" ".join, axis=1).str.lower() if len(table) else pd.Series(dtype=str)
    for word in one_line(words).lower().split():
        table = table[text.loc[table.index].str.contains(word, regex=False)]
    return table.sort_values(by, ascending=ascending, na_position="last", kind="stable").reset_index(drop=True)


def _row(run: Run) -> dict[str, Any]:
    manifest = run.manifest
    row = {
        "run": run.run_id,
        "scenario": run.scenario,
        "status": manifest.status,
        "label": ", ".join(manifest.labels),
        "engine": manifest.server.engine or "",
        "model": manifest.server.model or "",
        "lint": _finding_counts(run.path / "lint.json"),
        "client_bound": "CLIENT-BOUND" if manifest.client and manifest.client.bound else "",
    }
    if isinstance(run.summary, LoadSummary):
        row |= _load_columns(run.summary)
    return row


def _load_columns(summary: LoadSummary) -> dict[str, Any]:
    ttft, itl = summary.ttft_s, summary.itl_s
    return {
        "concurrency": summary.concurrency_planned,
        "offered_req_s": summary.rate_planned,
        "completed": summary.completed,
        "failed": summary.failed,
        "ttft_p50_s": ttft.p50,
        "ttft_p99_s": ttft.p99,
        "itl_p50_ms": None if itl.p50 is None else itl.p50 * 1e3,
        "itl_p99_ms": None if itl.p99 is None else itl.p99 * 1e3,
        "output_tok_s": summary.output_tok_s,
        "output_tok_s_total": summary.output_tok_s_total,
    }


def _finding_counts(file: Path) -> str:
    """Return the number of findings of each severity, the most severe first."""
    try:
        counts = Counter(finding.severity for finding in read_findings(file))
    except UsageError:
        return ""
    kinds = [(counts[severity], severity) for severity in ("error", "warning", "note") if counts[severity]]
    return ", ".join(f"{count} {severity}{'s' * (count != 1)}" for count, severity in kinds)


def _verdicts_by_run(verdicts: pd.DataFrame) -> dict[str, str]:
    """Return by run the number of claims that it decided, with each verdict."""
    decided = verdicts[verdicts["run_id"].notna()]
    return {
        str(run_id): ", ".join(f"{count} {verdict}" for verdict, count in Counter(of_run).most_common())
        for run_id, of_run in decided.groupby("run_id")["verdict"]
    }
