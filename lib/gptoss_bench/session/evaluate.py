"""What a run concludes from its requests: the summary and the findings, and a finished run's files made again."""

from collections.abc import Mapping
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench.files import write_json
from gptoss_bench.lint import check_run
from gptoss_bench.runs import Finding, Run, read_columns, read_requests, write_tables
from gptoss_bench.stats import (
    ReadColumns,
    client_bound,
    client_error_bar,
    client_server_agreement,
    energy_summary,
    run_intervals,
    summarise,
    sweep_rows,
)
from gptoss_client import UsageError

FILES = ("requests.parquet", "events.parquet", "summary.json", "lint.json")


def evaluate(
    said: Mapping[str, Any],
    requests: pd.DataFrame,
    events: pd.DataFrame | ReadColumns,
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
    found = {**said, **summarise(requests, events, concurrency=concurrency)}
    client = found["client"]
    client |= {"cpu_s": cpu_s, "cpu_share": cpu_share}
    client["error_bar"] = client_error_bar(client["events_s"], manifest.get("calibration"))
    client["bound"] = client_bound(client, found["itl_s"]["p50"])
    found["agreement"] = client_server_agreement(requests, found.get("server_metrics"))
    found |= energy_summary(found)
    found["intervals"] = run_intervals(found, requests)
    if rows := sweep_rows(requests, events, sweep_cpu_shares or {}):
        found["sweep"] = rows
    return found, check_run(found, requests, manifest)


def findings_document(findings: list[Finding]) -> list[dict[str, Any]]:
    """What lint.json holds."""
    return [asdict(finding) for finding in findings]


def rebuild_run(run: Run, target: Path) -> list[str]:
    """Derive the tables of a run again from its raw data into `target`, and name the files that were written.

    Where the run was summarised, its summary and its findings follow from them; the manifest has the concurrency that
    was planned. Raises UsageError where the run has no raw data.
    """
    if not (run.path / "raw.parquet").exists():
        raise UsageError(f"run {run.run_id} has no raw data: a run that sent no request or did not end has none")
    write_tables(run.traces(), target)
    concurrency = run.manifest["parameters"].get("concurrency")
    if concurrency is None or "percentile_rule" not in run.summary:
        return list(FILES[:2])
    requests = read_requests(target)
    client = run.summary.get("client", {})
    found, findings = evaluate(
        run.summary,
        requests,
        partial(read_columns, target),
        concurrency=concurrency,
        cpu_s=client.get("cpu_s"),
        cpu_share=client.get("cpu_share"),
        manifest=run.manifest,
        sweep_cpu_shares={row["concurrency"]: row["cpu_share"] for row in run.summary.get("sweep", [])},
    )
    write_json(target / "summary.json", found)
    write_json(target / "lint.json", findings_document(findings))
    return list(FILES)
