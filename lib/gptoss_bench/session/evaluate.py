"""Compute the summary and the findings of a run from its tables, and rebuild the derived files of a finished run."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from functools import partial
from pathlib import Path

import pandas as pd
from pydantic import JsonValue

from gptoss_bench.files import read_json, write_json
from gptoss_bench.lint import check_run
from gptoss_bench.runs import (
    PHASE_INFERENCE,
    PHASE_WARMUP,
    Capacity,
    Finding,
    LoadSummary,
    Manifest,
    Pauses,
    PlannedLoad,
    Run,
    RunFolder,
    ShardTables,
    Worker,
    lost_requests,
    merge_tables,
    read_event_columns,
    read_pauses,
    read_prompt_ids,
    read_record,
    read_sent_requests,
    shard_folder,
    write_record,
    write_tables,
)
from gptoss_bench.stats import (
    ReadColumns,
    capacity_levels,
    client_bound,
    client_error_bar,
    client_server_agreement,
    energy_summary,
    evaluate_capacity,
    fleet_summary,
    heartbeat_lateness,
    measured_stalls,
    set_worst_client,
    summarise,
    sweep_rows,
)
from gptoss_bench.telemetry import recover_samples
from gptoss_client import UsageError

KILLED = "killed before its end: finished later from the requests that had ended"
KEPT_FIELDS = {"probes", "cold", "telemetry", "server_metrics"}  # of a summary: not derived from its tables
TABLES = ("requests.parquet", "events.parquet", "stalls.parquet", "heartbeats.parquet")
DOCUMENTS = ("summary.json", "lint.json")
DERIVED_FILES = (*TABLES, *DOCUMENTS)


def evaluate(
    before: LoadSummary,
    requests: pd.DataFrame,
    events: pd.DataFrame | ReadColumns,
    *,
    load: PlannedLoad,
    cpu_s: float | None,
    cpu_share: float | None,
    manifest: Manifest,
    sweep_cpu_shares: Mapping[int, float | None] | None = None,
    pauses: Pauses | None = None,
    unsent: Mapping[str, int] | None = None,
    parts: Sequence[LoadSummary | None] = (),
) -> tuple[LoadSummary, list[Finding]]:
    """Return the summary of these tables and the findings about it.

    Args:
        before: The summary so far; what is not computed here, such as its probes and telemetry, is kept.
        requests: Request table.
        events: Event table, or a function that reads some of its columns.
        load: What was planned for the measured phase.
        cpu_s: CPU seconds of the client in the measured phase; None if unknown.
        cpu_share: Share of one core that the client used in it; None if unknown.
        manifest: Manifest of the run, with its calibration.
        sweep_cpu_shares: `cpu_share` by concurrency of the sweep. The summary has a sweep only if there was one.
        pauses: Times at which the client stood still; None if unknown.
        unsent: Requests by phase that were never sent because the load was stopped, and that `requests` lacks.
        parts: The summary of each worker's own run, if several workers sent the load.
    """
    found = summarise(
        requests, events, concurrency=load.concurrency, slo=load.slo, full_length=load.full_length, unsent=unsent
    )
    if load.prompts is not None:
        found.prompts = load.prompts
    for name in KEPT_FIELDS & before.model_fields_set:
        setattr(found, name, getattr(before, name))
    if load.capacity is not None and load.slo is not None:
        measured = before.capacity or Capacity(goal=load.capacity)
        found.capacity = evaluate_capacity(capacity_levels(requests, load.slo, measured), load.capacity)
    client = found.client
    client.cpu_s, client.cpu_share = cpu_s, cpu_share
    if pauses is not None:
        found.stalls = measured_stalls(pauses, requests)
        client.heartbeat_late_s = heartbeat_lateness(pauses, requests)
    client.error_bar = client_error_bar(client, manifest)
    client.bound, client.bound_unknown = client_bound(found)
    if manifest.workers is not None:
        found.fleet = fleet_summary(requests, manifest.workers, parts)
        found.lost = sum(worker.lost for worker in found.fleet.workers)
        set_worst_client(client, found.fleet.workers, parts)
    found.agreement = client_server_agreement(requests, found.server_metrics, client.error_bar)
    found.power_w, found.energy_j_per_tok = energy_summary(found)
    if rows := sweep_rows(requests, events, sweep_cpu_shares or {}, unsent, load.slo, full_length=load.full_length):
        found.sweep = rows
        if load.sweep_prompts is not None:
            for row in rows:
                row.prompts = load.sweep_prompts
    return found, check_run(found, requests, manifest)


def findings_document(findings: list[Finding]) -> list[JsonValue]:
    """Return the content of lint.json."""
    return [asdict(finding) for finding in findings]


def rebuild_run(run: Run, target: Path) -> list[str]:
    """Rebuild the tables of a finished run from its raw data in the folder `target`; return the names of the files.

    The summary and the findings are rebuilt too if the run has a summary and its manifest has the planned concurrency.
    Raises UsageError if the run has no raw data.
    """
    if run.manifest.workers is not None:
        return _rebuild_fleet(run, run.manifest.workers, target)
    if not (run.path / "raw.parquet").exists():
        raise UsageError(f"run {run.run_id} has no raw data, because no request was sent")
    write_tables(run.recorded(), target)
    tables = [name for name in TABLES if (target / name).exists()]
    before, load = run.summary, PlannedLoad.of(run.manifest.parameters)
    if load is None or not isinstance(before, LoadSummary):
        return tables
    requests = read_sent_requests(target)
    found, findings = evaluate(
        before,
        requests.rows,
        partial(read_event_columns, target),
        load=load,
        cpu_s=before.client.cpu_s,
        cpu_share=before.client.cpu_share,
        manifest=run.manifest,
        sweep_cpu_shares={row.concurrency: row.cpu_share for row in before.sweep},
        pauses=read_pauses(target),
        unsent=requests.unsent,
    )
    write_record(target / "summary.json", found)
    write_json(target / "lint.json", findings_document(findings))
    return [*tables, *DOCUMENTS]


def _rebuild_fleet(run: Run, workers: Sequence[Worker], target: Path) -> list[str]:
    """Rebuild the tables of each worker and merge them again."""
    names = list[str]()
    for worker in workers:
        own = shard_folder(run.path, worker.index)
        if (own / "raw.parquet").exists():
            rebuilt = shard_folder(target, worker.index)
            rebuilt.mkdir(parents=True, exist_ok=True)
            at = rebuilt.relative_to(target)
            names += [str(at / name) for name in rebuild_run(Run.load(own), rebuilt)]
    before = run.load_summary if isinstance(run.summary, LoadSummary) else LoadSummary()
    found, findings = merge_and_evaluate(before, target, run.manifest)
    write_record(target / "summary.json", found)
    write_json(target / "lint.json", findings_document(findings))
    return [*names, *(name for name in TABLES if (target / name).exists()), *DOCUMENTS]


def merge_and_evaluate(before: LoadSummary, folder: Path, manifest: Manifest) -> tuple[LoadSummary, list[Finding]]:
    """Merge the tables of the workers in `folder`, and return the summary of the whole load and its findings.

    `before` is the summary so far, see `evaluate`. Raises UsageError if a worker's folder cannot be read, or if two
    workers have the same request.
    """
    workers = manifest.workers or []
    shards = [
        ShardTables(worker.index, shard_folder(folder, worker.index), worker.clock.offset_ns if worker.clock else 0)
        for worker in workers
    ]
    recorded = {shard.index: read_prompt_ids(shard.folder) for shard in shards}
    merge_tables(shards, lost_requests(manifest.parameters, workers, recorded), folder)
    parts = [_shard_summary(shard.folder) for shard in shards]
    requests = read_sent_requests(folder)
    return evaluate(
        before,
        requests.rows,
        partial(read_event_columns, folder),
        load=PlannedLoad.of(manifest.parameters) or PlannedLoad(None),
        cpu_s=None,
        cpu_share=None,
        manifest=manifest,
        pauses=read_pauses(folder),
        unsent=requests.unsent,
        parts=parts,
    )


def _shard_summary(folder: Path) -> LoadSummary | None:
    """Return the summary of a worker's own run; None if it has none."""
    file = folder / "summary.json"
    content = read_json(file) if file.exists() else None
    return read_record(LoadSummary, content, file) if content else None


def finish_interrupted(path: Path, reason: str = KILLED) -> Run:
    """Finish a run that was killed: write from its spool what a stopped run has, and return the run.

    It becomes incomplete, with this reason; requests that had not ended have no row. A finished run stays as it is.
    Raises UsageError if the run is still being written, and where the disk refuses.
    """
    run = Run.load(path)
    if run.finished:
        return run
    with RunFolder.reopen(path) as folder:
        if run.manifest.workers is not None:
            return _finish_fleet(folder, run, reason)
        if damaged := folder.count_damaged_lines():
            reason += f"; {damaged} damaged line{'s' if damaged > 1 else ''} of its spool left out"
        requests = folder.sent_requests()
        summary, load = run.summary, PlannedLoad.of(run.manifest.parameters)
        if load is not None and (len(requests.rows) or requests.unsent):
            before = summary if isinstance(summary, LoadSummary) else LoadSummary()
            if before.telemetry is None:
                before.telemetry = recover_samples(folder, _phase_marks(requests.rows))
            summary, findings = evaluate(
                before,
                requests.rows,
                folder.event_columns,
                load=load,
                cpu_s=None,
                cpu_share=None,
                manifest=run.manifest,
                pauses=folder.pauses(),
                unsent=requests.unsent,
            )
            folder.write_document("lint", findings_document(findings))
        return folder.finish(summary, "incomplete", reason)


def _finish_fleet(folder: RunFolder, run: Run, reason: str) -> Run:
    """Finish the runs of the workers of a killed coordinator, and merge them."""
    for worker in run.manifest.workers or []:
        own = shard_folder(run.path, worker.index)
        if (own / "manifest.json").exists():
            finish_interrupted(own, reason)
    before = run.summary if isinstance(run.summary, LoadSummary) else LoadSummary()
    summary, findings = merge_and_evaluate(before, folder.path, run.manifest)
    folder.write_document("lint", findings_document(findings))
    return folder.finish(summary, "incomplete", reason)


def _phase_marks(requests: pd.DataFrame) -> list[tuple[str, int]]:
    """Return when each phase of the load began (ns), as far as the requests that had ended show it."""
    marks = []
    for phase, name in (("warmup", PHASE_WARMUP), ("measure", PHASE_INFERENCE)):
        sent_ns = requests.loc[requests["phase"] == phase, "sent_ns"].dropna()
        if len(sent_ns):
            marks.append((name, int(sent_ns.min())))
    return marks
