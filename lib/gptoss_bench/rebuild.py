"""What a run concludes from its requests: the summary and the findings, and a finished run's files made again."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import derived, lint_rules, summary
from gptoss_bench.agreement import agreement
from gptoss_bench.atomic import write_json
from gptoss_bench.error_bar import client_bound, error_bar
from gptoss_bench.errors import UsageError
from gptoss_bench.finding import Finding
from gptoss_bench.run_intervals import run_intervals
from gptoss_bench.store import Run
from gptoss_bench.sweep import sweep_rows

FILES = ("requests.parquet", "chunks.parquet", "summary.json", "lint.json")


def conclude(
    said: Mapping[str, Any],
    requests: pd.DataFrame,
    chunks: pd.DataFrame | summary.Columns,
    *,
    concurrency: int,
    cpu_s: float | None,
    cpu_share: float | None,
    manifest: Mapping[str, Any],
    sweep_cpu_shares: Mapping[int, float | None] | None = None,
) -> tuple[dict[str, Any], list[Finding]]:
    """The summary of these tables and what makes it untrustworthy.

    `said` is what the summary says already, of which stays what a scenario added; `cpu_s` and `cpu_share` are the
    client's over the measured phase, `manifest` is the run's with its "ruler", `sweep_cpu_shares` the client's by level
    of a sweep. "sweep" is in the summary where there was one.
    """
    found = {**said, **summary.summarise(requests, chunks, concurrency=concurrency)}
    client = found["client"]
    client |= {"cpu_s": cpu_s, "cpu_share": cpu_share}
    client["error_bar"] = error_bar(client["events_s"], manifest.get("ruler"))
    client["bound"] = client_bound(client, found["itl_s"]["p50"])
    found["agreement"] = agreement(requests, found.get("server_metrics"))
    found |= summary.energy(found)
    found["intervals"] = run_intervals(found, requests)
    if rows := sweep_rows(requests, chunks, sweep_cpu_shares or {}):
        found["sweep"] = rows
    return found, lint_rules.findings(found, requests, manifest)


def findings_document(findings: list[Finding]) -> list[dict[str, Any]]:
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
    requests = derived.read_requests(target)
    client = run.summary.get("client", {})
    found, findings = conclude(
        run.summary,
        requests,
        partial(derived.read_columns, target),
        concurrency=concurrency,
        cpu_s=client.get("cpu_s"),
        cpu_share=client.get("cpu_share"),
        manifest=run.manifest,
        sweep_cpu_shares={row["concurrency"]: row["cpu_share"] for row in run.summary.get("sweep", [])},
    )
    write_json(target / "summary.json", found)
    write_json(target / "lint.json", findings_document(findings))
    return list(FILES)
