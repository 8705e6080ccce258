"""Under which conditions a run was made, held against those that a figure was published under. Pure."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from gptoss_bench.claims.model import Evidence, RunRecord, number_at
from gptoss_bench.runs import CPU_LABEL, NO_GPU_LABEL, PARTIAL_LABEL, REMOTE_LABEL, no_gpt_oss_labels, split_labels

HARDWARE = {
    REMOTE_LABEL: "hardware: what served is not known",
    PARTIAL_LABEL: "hardware: part of the model was in the system's memory",
    NO_GPU_LABEL: "hardware: no GPU held the model",
    CPU_LABEL: "hardware: CPU",
}


@dataclass(frozen=True, slots=True)
class Setting:
    """What a figure was published under; empty is not told. `prompt_tokens`: least and most that count as the same.

    `gpu` and `engine` are names to find, `parameters` values that the run must have had, `version` is pinned.
    """

    gpu: str
    engine: str
    model: str
    version: str = ""
    quantisation: str = ""
    parameters: Mapping[str, Any] = field(default_factory=dict)
    prompt_tokens: Sequence[float] = ()
    whole: bool = True


def no_measurement(run: RunRecord) -> str:
    """Why a run measured no gpt-oss at all, in words; empty where it did."""
    incomplete = [] if run.manifest.get("status") == "complete" else ["it is incomplete"]
    return "; ".join([*no_gpt_oss_labels(run.label), *incomplete])


def differing(run: RunRecord, setting: Setting) -> list[str]:
    """Each condition that differs, named with both values. What the run does not tell is not said to differ."""
    endpoint = run.manifest.get("endpoint") or {}
    served, model = str(endpoint.get("quantisation") or ""), str(endpoint.get("model"))
    version = run.version or ""
    pinned = setting.version and version and version_key(version) != version_key(setting.version)
    other = served and setting.quantisation.lower() not in served.lower()
    words = [
        *_hardware(run, setting.gpu),
        "" if run.is_of(setting.engine) else f"engine: {run.engine}, not {setting.engine}",
        f"version: {version}, not {setting.version}" if pinned else "",
        "" if plain_name(setting.model) in plain_name(model) else f"model: {model}, not {setting.model}",
        f"quantisation: {served}, not {setting.quantisation}" if other else "",
        *_load(run, setting.parameters),
        _prompt_tokens(run, setting.prompt_tokens),
        f"failures: {run.number('failed'):g} requests failed" if setting.whole and run.number("failed") else "",
    ]
    return [one for one in words if one]


def _hardware(run: RunRecord, gpu: str) -> list[str]:
    reported = [HARDWARE.get(label, f"label: {label}") for label in split_labels(run.label)]
    if REMOTE_LABEL in split_labels(run.label):
        return reported
    names = [str(card["name"]) for card in run.manifest.get("gpus") or []]
    # A whole word: A10 is neither an A100 nor an A10G.
    if not any(re.search(rf"\b{gpu}\b", name) for name in names):
        return [*reported, f"hardware: {', '.join(names) or 'no GPU'}, not {gpu}"]
    cards = ((run.manifest.get("endpoint") or {}).get("facts") or {}).get("tensor_parallel") or 1
    return [*reported, f"hardware: {cards} GPUs, not one"] if cards > 1 else reported


def _load(run: RunRecord, parameters: Mapping[str, Any]) -> list[str]:
    had = run.manifest.get("parameters") or {}
    return [
        f"load: {key} {had.get(key)!r}, not {value!r}" for key, value in parameters.items() if had.get(key) != value
    ]


def _prompt_tokens(run: RunRecord, allowed: Sequence[float]) -> str:
    least, most = run.number("prompt_tokens.min"), run.number("prompt_tokens.max")
    if not allowed or least is None or most is None or allowed[0] <= least <= most <= allowed[1]:
        return ""
    had = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    return f"prompt tokens: {had}, not {allowed[0]:g} to {allowed[1]:g}"


def made_with(evidence: Evidence, scenario: str, at: str, published: float) -> str:
    """Whether the newest run of a real model in a scenario was made under a published condition; empty without one.

    `at` is a dotted path of its manifest ("parameters.requests"), or of its summary.
    """
    runs = [run for run in evidence.newest_first() if run.scenario == scenario and not no_measurement(run)]
    if not runs:
        return ""
    run = runs[0]
    had = next((n for n in (number_at(run.manifest, at), run.number(at)) if n is not None), None)
    if had is None:
        return f"run {run.run_id} does not tell what it had"
    return f"run {run.run_id} had {'the same' if had == published else f'{had:g}, not {published:g}'}"


def gpus_of_newest_run(evidence: Evidence, scenario: str) -> str:
    """The GPUs of the newest run of a real model in a scenario, by its manifest; empty where there is no such run."""
    runs = [run for run in evidence.newest_first() if run.scenario == scenario and not no_measurement(run)]
    if not runs or REMOTE_LABEL in split_labels(runs[0].label):
        return ""
    reported = [f"{card['name']}, {card.get('memory_mib') or 0:,} MiB" for card in runs[0].manifest.get("gpus") or []]
    return f"run {runs[0].run_id} was made on {'; '.join(reported) or 'no GPU'}, which tells nothing of theirs"


def plain_name(name: str) -> str:
    """A name without what writers differ in."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def version_key(version: str) -> tuple[int, ...]:
    """The numbers of a version, for ordering; what follows a + or a - is not looked at."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+-]", version)[0]))
