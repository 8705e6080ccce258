"""List the runs on disk as one table, and choose the newest run of each scenario."""

import json
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import paths
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.labels import no_gpt_oss_labels
from gptoss_client import UsageError

RUN_COLUMNS = (
    *("run", "scenario", "status", "label", "engine", "model", "concurrency", "completed", "failed"),
    *("ttft_p50_s", "ttft_p99_s", "itl_p50_ms", "itl_p99_ms", "output_tok_s", "lint", "client_bound", "verdicts"),
)

COUNTS = ("concurrency", "completed", "failed")


def runs_table(results: Path = paths.RESULTS) -> pd.DataFrame:
    """Return one row per run, newest first, with RUN_COLUMNS. An unreadable folder has its error as status."""
    verdicts: dict[str, str] = {}
    rows = []
    for file in sorted((results / "runs").glob("*/manifest.json"), reverse=True):
        try:
            run = Run.load(file.parent)
        except UsageError as error:
            rows.append({"run": file.parent.name, "status": f"not readable: {error}"})
            continue
        if run.scenario == "verdicts" and not verdicts and (run.path / "verdicts.parquet").exists():
            verdicts = _marks(run.table("verdicts"))
        rows.append(_row(run))
    table = pd.DataFrame(rows, columns=RUN_COLUMNS)
    numbers = [name for name in RUN_COLUMNS if name.endswith(("_s", "_ms")) or name in COUNTS]
    table[numbers] = table[numbers].astype("float64")
    table["verdicts"] = [verdicts.get(str(run), "") for run in table["run"]]
    return table


def _row(run: Run) -> dict[str, Any]:
    summary, endpoint = run.summary, run.manifest.get("endpoint") or {}
    ttft, itl = (summary.get(name) or {} for name in ("ttft_s", "itl_s"))
    return {
        "run": run.run_id,
        "scenario": run.scenario,
        "status": run.manifest["status"],
        "label": run.manifest.get("label") or "",
        "engine": endpoint.get("engine") or "",
        "model": endpoint.get("model") or "",
        "concurrency": summary.get("concurrency_planned"),
        "completed": summary.get("completed"),
        "failed": summary.get("failed"),
        **{f"ttft_{at}_s": ttft.get(at) for at in ("p50", "p99")},
        **{f"itl_{at}_ms": None if itl.get(at) is None else itl[at] * 1e3 for at in ("p50", "p99")},
        "output_tok_s": summary.get("output_tok_s"),
        "lint": _lint(run.path / "lint.json"),
        "client_bound": "CLIENT-BOUND" if (run.manifest.get("client") or {}).get("bound") else "",
    }


def _lint(file: Path) -> str:
    """Return the number of findings of each severity, the most severe first."""
    try:
        counts = Counter(finding["severity"] for finding in json.loads(file.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return ", ".join(f"{counts[word]} {word}" for word in ("error", "warning", "note") if counts[word])


def _marks(verdicts: pd.DataFrame) -> dict[str, str]:
    """Return by run the number of claims it decided, with each verdict."""
    decided = verdicts[verdicts["run_id"].notna()]
    marks: dict[str, str] = {}
    for run_id, words in decided.groupby("run_id")["verdict"]:
        marks[str(run_id)] = ", ".join(f"{n} {word}" for word, n in Counter(words).most_common())
    return marks


def filter_runs(table: pd.DataFrame, *, words: str = "", by: str = "run", ascending: bool = False) -> pd.DataFrame:
    """Return the rows that contain every one of these words, sorted by one column with unknown values last.

    Raises UsageError where there is no such column.
    """
    if by not in table.columns:
        raise UsageError(f"there is no column {by!r}: choose one of {', '.join(table.columns)}")
    text = table.astype("string").fillna("").agg(" ".join, axis=1).str.lower() if len(table) else pd.Series(dtype=str)
    for word in words.lower().split():
        table = table[text.loc[table.index].str.contains(word, regex=False)]
    return table.sort_values(by, ascending=ascending, na_position="last", kind="stable").reset_index(drop=True)


def latest_runs(results: Path = paths.RESULTS, run_ids: Iterable[str] = ()) -> list[Run]:
    """Return the named runs, or the newest complete run of each scenario, oldest first.

    A run without a label goes before one that carries a label, and one of a real model before a tiny one's, however
    new: what was measured on a GPU is not lost to a later try on the embedded engine. Raises UsageError where a named
    run is not there.
    """
    folder = results / "runs"
    if named := list(run_ids):
        return [Run.load(folder / run_id) for run_id in named]
    newest: dict[str, Run] = {}
    for file in sorted(folder.glob("*/manifest.json")):
        run = Run.load(file.parent)
        best = newest.get(run.scenario)
        if run.manifest["status"] == "complete" and (best is None or _worth(run) >= _worth(best)):
            newest[run.scenario] = run
    return sorted(newest.values(), key=lambda run: run.run_id)


def _worth(run: Run) -> int:
    """Return 0 for a run without a gpt-oss model, 1 for another run with a label, 2 for a run without a label."""
    label = str(run.manifest["label"] or "")
    return 0 if no_gpt_oss_labels(label) else 1 if label else 2
