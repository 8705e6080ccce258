"""Compare the conditions of a run with the conditions under which a figure was published."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields
from statistics import mean
from typing import Annotated

from pydantic import Field, Strict

from gptoss_bench.claims.gate import refusals
from gptoss_bench.claims.model import ClaimsRecord, Number, RunRecord, Text, format_number
from gptoss_bench.claims.verdict_words import (
    CONTRADICTED,
    MEASURED,
    MEASURED_ELSEWHERE,
    NOT_REPRODUCED,
    RANDOM_WEIGHTS,
    REPRODUCED,
    SEEN,
    STAND_IN,
)
from gptoss_bench.runs import CPU_LABEL, NO_GPU_LABEL, PARTIAL_LABEL, RANDOM_LABEL, REMOTE_LABEL, number_at
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
    """Return why a run measured no gpt-oss tensors, "" where it did."""
    incomplete = [] if run.manifest.status == "complete" else ["it is incomplete"]
    return "; ".join([*filter(None, [run.stand_in]), *incomplete])


def basis_of(run: RunRecord, gpu: str, model: str) -> tuple[str, str]:
    """Return the basis of what a run shows of a published GPU and model, and what it was measured on."""
    software = " ".join(filter(None, (run.engine, run.version)))
    if run.stand_in:
        return STAND_IN, f"{run.label or run.stand_in}: {software}"
    if run.random_weights:
        return RANDOM_WEIGHTS, f"{run.gpus}: {software}"
    same = on_gpu(run, gpu) and plain_name(model) in plain_name(str(run.manifest.server.model))
    return (MEASURED if same else MEASURED_ELSEWHERE), f"{run.gpus}: {software}"


def behaviour_word(basis: str, *, holds: bool) -> str:
    """Return the verdict on a behaviour that a run of this basis showed or contradicted."""
    if basis == MEASURED:
        return REPRODUCED if holds else NOT_REPRODUCED
    return SEEN if holds else CONTRADICTED


def on_gpu(run: RunRecord, gpu: str) -> bool:
    """Return whether a run used this GPU: its name as a whole word, since an A10 is neither an A100 nor an A10G."""
    known = REMOTE_LABEL not in run.manifest.labels
    return known and any(re.search(rf"\b{re.escape(gpu)}\b", one.name) for one in run.manifest.gpus or [])


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


def routing_notes(run: RunRecord, path: str, unit: str, others: Sequence[RunRecord]) -> list[str]:
    """Return why a time or a rate with random weights need not be that of the model: experts are chosen in another way.

    `others` are runs, the newest first: those at temperature 1 with the same server and load are named with their mean.
    Without random weights, and for any other figure, there is nothing to say.
    """
    quantity = path.partition(".")[0]
    if not run.random_weights or not (quantity == "server" or quantity.removesuffix("_total").endswith("_s")):
        return []
    notes = ["it depends on how tokens are routed to experts: random weights choose them about evenly"]
    parameters = run.manifest.parameters
    if parameters.get("temperature") != 0 or parameters.get("prompts") != "fixed":
        return notes
    notes.append("at temperature 0 equal prompts may stay in step and use few experts at a time")
    control = [one for one in others if _is_control(one, run, path) and not refusals(one, path)]
    if not control:
        return [*notes, "no run of this load at temperature 1 is among the evidence"]
    shown = f"{format_number(mean(one.number(path) or 0.0 for one in control))} {unit}".strip()
    requests = control[0].manifest.parameters.get("requests")
    runs = f"run {control[0].run_id}" if len(control) == 1 else f"mean of {len(control)} runs to {control[0].run_id}"
    return [*notes, f"at temperature 1 it was {shown} ({runs}, {requests} requests)"]


def _is_control(other: RunRecord, run: RunRecord, path: str) -> bool:
    """Return whether a run had another's server and load at temperature 1; for a wall time also as many requests."""
    had, has = run.manifest.parameters, other.manifest.parameters
    same = ["model", "prompt", "system", "prompts", "concurrency", "max_tokens", "ignore_eos", "context"]
    same += ["prefix_caching", "engine_flags", *(["requests"] if path.startswith("wall_s") else [])]
    return (
        has.get("temperature") == 1
        and other.number(path) is not None
        and (run.engine, run.version, run.gpus, run.label) == (other.engine, other.version, other.gpus, other.label)
        and all(had.get(name) == has.get(name) for name in same)
    )


def _hardware(run: RunRecord, gpu: str) -> list[str]:
    reported = [
        LABEL_CONDITIONS.get(label, f"label: {label}") for label in run.manifest.labels if label != RANDOM_LABEL
    ]
    if REMOTE_LABEL in run.manifest.labels:
        return reported
    if not on_gpu(run, gpu):
        return [*reported, f"hardware: {run.gpus}, not {gpu}"]
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


def plain_name(name: str) -> str:
    """Return a name in lower case, with one hyphen for anything that is not a letter or digit."""
    return re.sub(r"[^a-z0-9]+", "-", name.lower())


def version_key(version: str) -> tuple[int, ...]:
    """Return the numbers of a version, for ordering; the part after + or - is ignored."""
    return tuple(int(part) for part in re.findall(r"\d+", re.split(r"[+-]", version)[0]))
