"""What a run concludes from its requests: the summary and the findings, and a finished run's files made again."""

from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import derived, lint, lint_machine, summary
from gptoss_bench.agreement import agreement
from gptoss_bench.atomic import write_json
from gptoss_bench.errors import UsageError
from gptoss_bench.store import Run

FILES = ("requests.parquet", "chunks.parquet", "summary.json", "lint.json")


def conclude(
    said: Mapping[str, Any],
    requests: pd.DataFrame,
    chunks: pd.DataFrame,
    *,
    concurrency: int,
    cpu_share: float | None,
) -> tuple[dict[str, Any], list[lint.Finding]]:
    """The summary of these tables and what makes it untrustworthy.

    `said` is what the summary says already, of which stays what a scenario added; `cpu_share` is of the client.
    """
    found = {**said, **summary.summarise(requests, chunks, concurrency=concurrency)}
    found["client"]["cpu_share"] = cpu_share
    found["agreement"] = agreement(requests, found.get("server_metrics"))
    found |= summary.energy(found)
    return found, lint.lint(found, requests, (*lint.RULES, *lint_machine.RULES))


def findings_document(findings: list[lint.Finding]) -> list[dict[str, Any]]:
    """What lint.json holds."""
    return [asdict(finding) for finding in findings]


def rebuild(run: Run, target: Path) -> list[str]:
    """Derive the tables of a run again from its raw data into `target`, and name the files that were written.

    Where the run was summarised, its summary and its findings follow from them; the manifest has the concurrency that
    was planned. Raises UsageError where the run has no raw data.
    """
    if not (run.path / "raw.parquet").exists():
        raise UsageError(f"run {run.run_id} has no raw data: a run that sent no request or did not end has none")
    derived.write_tables(run.traces(), target)
    concurrency = run.manifest["parameters"].get("concurrency")
    if concurrency is None or "percentile_rule" not in run.summary:
        return list(FILES[:2])
    requests, chunks = derived.read_tables(target, summary.CHUNK_COLUMNS)
    cpu_share = run.summary.get("client", {}).get("cpu_share")
    found, findings = conclude(run.summary, requests, chunks, concurrency=concurrency, cpu_share=cpu_share)
    write_json(target / "summary.json", found)
    write_json(target / "lint.json", findings_document(findings))
    return list(FILES)
