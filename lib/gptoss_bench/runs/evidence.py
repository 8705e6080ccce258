"""Choose the runs that are evidence for verdicts: by declared purpose or by name, never by age alone."""

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import yaml

from gptoss_bench import paths
from gptoss_bench.runs.catalogue import readable_runs
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.labels import REMOTE_LABEL, UNKNOWN_LABEL
from gptoss_bench.runs.manifest import Manifest
from gptoss_client import JsonValue, UsageError

VERDICTS = "verdicts"
UNKNOWN_ENGINES = ("", "openai-compatible")
ADDRESS = {"url", "run_id", "results_dir"}  # parameters that say where, not what
NOT_KNOWN = "names no file of notebooks/profiles"


@dataclass(frozen=True, slots=True)
class ChosenRun:
    """A run that is evidence, the scenario that it counts as, and why it was chosen."""

    run: Run
    scenario: str
    because: str


@dataclass(frozen=True, slots=True)
class RefusedRun:
    """A folder that is no evidence, and why not."""

    run_id: str
    reason: str


@dataclass(frozen=True, slots=True)
class EvidenceChoice:
    """The runs that are evidence, oldest first, and the folders that are not, each with its reason."""

    chosen: tuple[ChosenRun, ...]
    refused: tuple[RefusedRun, ...] = ()


@dataclass(frozen=True, slots=True)
class NamedEvidence:
    """A run that is evidence because it is named. `scenario` is the one that it counts as, "" for its own."""

    run_id: str
    because: str
    scenario: str = ""


def named_runs(results: Path, run_ids: Iterable[str]) -> list[Run]:
    """Return the named runs. Raises UsageError where one is not there or not readable."""
    return [Run.load(results / "runs" / run_id) for run_id in dict.fromkeys(run_ids)]


def newest_verdicts(results: Path) -> Run | None:
    """Return the newest complete run with the verdicts on the claims file of the kit, None without one.

    Folders that cannot be read are passed over.
    """
    complete = (run for run in readable_runs(results) if run.has_main_verdicts and run.manifest.status == "complete")
    return max(complete, key=lambda run: run.run_id, default=None)


def choose_evidence(
    results: Path = paths.RESULTS, named: Iterable[NamedEvidence] = (), *, only_named: bool = False
) -> EvidenceChoice:
    """Return the runs of a results folder that are evidence, and why the others are not.

    Evidence is a complete run that is named, or one that was made with the parameters of a profile and whose model and
    hardware are known. Of the labelled runs of one scenario and profile the newest is chosen, with the repeats of its
    load. Runs of verdicts are left out. With `only_named` the others are not read.
    """
    names = {one.run_id: one for one in named}
    chosen: list[ChosenRun] = []
    refused: list[RefusedRun] = []
    taken: dict[tuple[str, ...], str | None] = {}  # the repeat group of each chosen labelled run
    for folder in reversed(_folders(results)):
        name = names.get(folder.name)
        if only_named and name is None:
            continue
        try:
            run = Run.load(folder)
            _ = run.findings  # they are evidence too
        except UsageError as error:
            refused.append(RefusedRun(folder.name, f"not readable: {error}"))
            continue
        if run.scenario == VERDICTS:
            continue
        if run.manifest.status != "complete":
            reason = run.manifest.reason or "it did not end"
            refused.append(RefusedRun(run.run_id, f"{run.manifest.status}: {reason}"))
        elif name is not None:
            chosen.append(ChosenRun(run, name.scenario or run.scenario, name.because))
        elif reason := why_not_chosen(run.manifest):
            refused.append(RefusedRun(run.run_id, reason))
        else:
            purpose = run.manifest.purpose
            profile = purpose.profile if purpose else ""
            key = (run.scenario, profile, *run.manifest.labels)
            group = run.manifest.repeat_group
            if run.manifest.labels and key in taken and (group is None or group != taken[key]):
                refused.append(RefusedRun(run.run_id, f"there is a newer run of {run.scenario} with profile {profile}"))
                continue
            taken[key] = group
            chosen.append(ChosenRun(run, run.scenario, f"made with the parameters of profile {profile}"))
    return EvidenceChoice(tuple(reversed(chosen)), tuple(reversed(refused)))


def why_not_chosen(manifest: Manifest) -> str:
    """Return why a complete run is no evidence unless it is named, "" where it is evidence."""
    purpose = manifest.purpose
    if purpose is None:
        return "ad hoc: no profile gave its parameters; name it to use it"
    if differing := changed_parameters(purpose.profile, purpose.parameters):
        return f"ad hoc: not the parameters of profile {purpose.profile}: {differing}"
    if unknown := unknown_parts(manifest):
        return f"{' and '.join(unknown)}; name it to use it"
    return ""


def changed_parameters(profile: str, given: dict[str, JsonValue]) -> str:
    """Return the parameters of a run that differ from those of its profile in notebooks/profiles, "" for none."""
    try:
        content = yaml.safe_load((paths.PROFILES / f"{Path(profile).name}.yaml").read_text(encoding="utf-8"))
    except (OSError, ValueError, yaml.YAMLError):
        return NOT_KNOWN
    planned: dict[str, JsonValue] = content if isinstance(content, dict) else {}
    return ", ".join(
        f"{name} {value!r} instead of {planned[name]!r}" if name in planned else f"{name} {value!r}"
        for name, value in given.items()
        if name not in ADDRESS and (name not in planned or planned[name] != value) and not _left_open(planned, name)
    )


def unknown_parts(manifest: Manifest) -> list[str]:
    """Return what is not known of a run against a server: its model, its hardware; empty for a run without a server."""
    endpoint = manifest.endpoint
    if endpoint is None:
        return []
    unknown = []
    if not endpoint.model or (endpoint.engine or "") in UNKNOWN_ENGINES or UNKNOWN_LABEL in manifest.labels:
        unknown.append("unknown model")
    if manifest.gpus is None or REMOTE_LABEL in manifest.labels:
        unknown.append("unknown hardware")
    return unknown


def _left_open(planned: dict[str, JsonValue], name: str) -> bool:
    """Return whether a profile asks its user for this parameter."""
    return planned.get(name) == ""


def _folders(results: Path) -> list[Path]:
    """Return the folders below results/runs, oldest first: a run id begins with the time."""
    return sorted(file for file in (results / "runs").glob("*") if file.is_dir())
