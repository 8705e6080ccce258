"""Check what the manifest of a run states: whether it is complete, and whether it contradicts the recorded data."""

from datetime import UTC, datetime, timedelta
from pathlib import Path

from gptoss_bench.runs import CPU_LABEL, REMOTE_LABEL, TINY_LABEL, Manifest, Run, model_label, split_labels
from gptoss_bench.verify.check import Check

START_WITHIN = timedelta(minutes=10)  # of the time in the run's id: papermill starts a kernel in between


def check_manifest(run: Run, folder: Path) -> Check:
    """Return whether the manifest names what a reader has to know, and is that of this folder."""
    found, refused = run.manifest, []
    if found.status != "complete":
        refused.append(f"the run is {found.status}: {found.reason or 'its writer did not end it'}")
    if found.run_id != folder.name:
        refused.append(f"its manifest is of run {found.run_id}, the folder is {folder.name}")
    refused += [f"its manifest does not say {what}" for what, known in _needed(found).items() if not known]
    if found.code is not None and found.code.dirty:
        refused.append("the code of the kit was changed when it ran (its manifest says dirty)")
    refused += _times(found)
    return Check("manifest", "what, where, when and by which code", tuple(refused))


def _needed(found: Manifest) -> dict[str, object]:
    machine, server = found.machine, found.server
    return {
        "the processor and the number of cores": machine and machine.cpu and machine.cores,
        "the system": machine and machine.system,
        "the version of the kit": found.code and found.code.version,
        "the commit of the kit": found.code and found.code.commit,
        "the versions of the packages": found.packages,
        "which engine was measured": server.engine,
        "the version of the engine": server.version,
        "the model": server.model,
        "the clock": found.clock and found.clock.start_ns is not None,
        "the parameters of the load": found.parameters,
        "start and end": found.start_utc and found.end_utc,
    }


def _times(found: Manifest) -> list[str]:
    try:
        named = datetime.strptime(found.run_id[:16], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC)
        start, end = (datetime.fromisoformat(text) for text in (found.start_utc or "", found.end_utc or ""))
        if end < start:
            return ["its end is before its start"]
        if abs(start - named) > START_WITHIN:
            return [f"its id says {named:%Y-%m-%d %H:%M}, its start {start:%Y-%m-%d %H:%M}"]
    except (TypeError, ValueError):
        return ["its start or end is no time in UTC"]
    return ["its end lies in the future"] if end > datetime.now(UTC) + timedelta(days=1) else []


def check_labels(run: Run) -> Check:
    """Return whether each label that the recorded facts demand is there, and whether the GPUs were sampled."""
    found, refused, unchecked = run.manifest, [], []
    label = model_label(found.server.model or "", found.server.facts.get("parameters"))
    needed = split_labels(label)
    if found.parameters.get("embedded") is True and TINY_LABEL not in needed:
        needed.append(TINY_LABEL)
    if not found.gpus and REMOTE_LABEL not in found.labels and found.server.facts.get("device") == "cpu":
        needed.append(CPU_LABEL)
    refused += [f"the label {each} is missing" for each in needed if each not in found.labels]
    gpus = found.gpus or []
    sampled = run.table("gpu")["gpu"].nunique() if (run.path / "gpu.parquet").exists() else 0
    if sampled > len(gpus):
        refused.append(f"gpu.parquet has samples of {sampled} GPUs, the manifest names {len(gpus)}")
    elif gpus and not sampled and REMOTE_LABEL not in found.labels:
        refused.append(f"the manifest names {gpus[0].name}, and there is no sample of any GPU")
    if gpus:
        unchecked.append(f"that the GPU is an {gpus[0].name} is what the machine said")
    return Check("labels", ", ".join(found.labels) or "no label", tuple(refused), tuple(unchecked))
