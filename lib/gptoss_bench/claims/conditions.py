"""Compare the conditions of a run with the conditions under which a figure was published."""

import re
from collections.abc import Mapping
from dataclasses import fields
from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.model import ClaimsRecord, Evidence, Number, RunRecord, Text
from gptoss_bench.runs import CPU_LABEL, NO_GPU_LABEL, PARTIAL_LABEL, REMOTE_LABEL, no_gpt_oss_labels, number_at
from gptoss_bench.validation import OneOf, Wanted
from gptoss_client import LoadPlan

LoadField = Annotated[str, OneOf([field.name for field in fields(LoadPlan)])]
LoadValue = Annotated[bool | int | Number | str, Wanted("a number, a text, or true or false")]

LABEL_CONDITIONS = {
    REMOTE_LABEL: "hardware: what served is unknown",
    PARTIAL_LABEL: "hardware: part of the model was in system memory",
    NO_GPU_LABEL: "hardware: the model was not on a GPU",
    CPU_LABEL: "hardware: CPU",
}


class PublishedConditions(ClaimsRecord):
    """The conditions under which a figure was published; those left out are unknown and not compared."""

    gpu: Text
    """The name to find among the names of the run's GPUs, as a whole word."""
    engine: Text
    model: Text
    version: str = ""
    quantisation: str = ""
    parameters: dict[LoadField, LoadValue] = Field(default_factory=dict)
    """Values of the load plan."""
    prompt_tokens: Annotated[tuple[Number, Number], Strict(False)] | None = None
    """The least and the most that count as the same."""
    whole: bool = True
    """No request failed."""


def why_not_evidence(run: RunRecord) -> str:
    """Return why a run measured no gpt-oss model, "" where it did."""
    incomplete = [] if run.manifest.status == "complete" else ["it is incomplete"]
    return "; ".join([*no_gpt_oss_labels(run.manifest.labels), *incomplete])


def differing_conditions(run: RunRecord, published: PublishedConditions) -> list[str]:
    """Return each condition that differs, with both values. A condition that is unknown for the run is not compared."""
    quantisation, model = run.manifest.server.quantisation or "", str(run.manifest.server.model)
    version = run.version or ""
    other_version = published.version and version and version_key(version) != version_key(published.version)
    requantised = quantisation and published.quantisation.lower() not in quantisation.lower()
    differences = [
        *_hardware(run, published.gpu),
        "" if run.used(published.engine) else f"engine: {run.engine}, not {published.engine}",
        f"version: {version}, not {published.version}" if other_version else "",
        "" if plain_name(published.model) in plain_name(model) else f"model: {model}, not {published.model}",
        f"quantisation: {quantisation}, not {published.quantisation}" if requantised else "",
        *_load(run, published.parameters),
        _prompt_tokens(run, published.prompt_tokens),
        f"failures: {run.number('failed'):g} requests failed" if published.whole and run.number("failed") else "",
    ]
    return [difference for difference in differences if difference]


def _hardware(run: RunRecord, gpu: str) -> list[str]:
    reported = [LABEL_CONDITIONS.get(label, f"label: {label}") for label in run.manifest.labels]
    if REMOTE_LABEL in run.manifest.labels:
        return reported
    names = [gpu.name for gpu in run.manifest.gpus or []]
    # Match the whole word: A10 is neither A100 nor A10G.
    if not any(re.search(rf"\b{re.escape(gpu)}\b", name) for name in names):
        return [*reported, f"hardware: {', '.join(names) or 'no GPU'}, not {gpu}"]
    cards = number_at(run.manifest.server.facts, "tensor_parallel") or 1
    return [*reported, f"hardware: {cards:g} GPUs, not one"] if cards > 1 else reported


def _load(run: RunRecord, parameters: Mapping[str, bool | float | str]) -> list[str]:
    had = run.manifest.parameters
    return [
        f"load: {key} {had.get(key)!r}, not {value!r}" for key, value in parameters.items() if had.get(key) != value
    ]


def _prompt_tokens(run: RunRecord, allowed: tuple[float, float] | None) -> str:
    least, most = run.number("prompt_tokens.min"), run.number("prompt_tokens.max")
    if not allowed or least is None or most is None or allowed[0] <= least <= most <= allowed[1]:
        return ""
    had = f"{least:g}" if least == most else f"{least:g} to {most:g}"
    return f"prompt tokens: {had}, not {allowed[0]:g} to {allowed[1]:g}"


def condition_of_newest_run(evidence: Evidence, scenario: str, path: str, published: float) -> str:
    """Return whether the newest run of a real model had a published condition, "" where there is no such run.

    `path` is a dotted path of its manifest ("parameters.requests") or of its summary.
    """
    runs = [run for run in evidence.newest_first(scenario) if not why_not_evidence(run)]
    if not runs:
        return ""
    run = runs[0]
    had = next((n for n in (number_at(run.manifest, path), run.number(path)) if n is not None), None)
    if had is None:
        return f"run {run.run_id} does not report its value"
    return f"run {run.run_id} had {'the same' if had == published else f'{had:g}, not {published:g}'}"


def gpus_of_newest_run(evidence: Evidence, scenario: str) -> str:
    """Return the GPUs of the newest run of a real model in a scenario, "" where there is no such run."""
    runs = [run for run in evidence.newest_first(scenario) if not why_not_evidence(run)]
    if not runs or REMOTE_LABEL in runs[0].manifest.labels:
        return ""
    reported = [f"{gpu.name}, {gpu.memory_mib or 0:,} MiB" for gpu in runs[0].manifest.gpus or []]
    return f"run {runs[0].run_id} was made on {'; '.join(reported) or 'no GPU'}, not on the write-up's"


def plain_name(name: str) -> str:
    """Return a name in lower case, with one hyphen for anything that is not a letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def version_key(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for ordering; the part after + or - is ignored."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+-]", version)[0]))
