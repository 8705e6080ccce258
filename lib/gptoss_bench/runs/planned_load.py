"""What the parameters of a run say about its load, as far as the summary depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import JsonValue

from gptoss_bench.runs.capacity import CapacityGoal
from gptoss_bench.runs.summary import Slo


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """The slots of a closed loop, None for an open loop, and the limits that a good request meets, if there are any.

    `full_length` says that an answer that stopped at the token limit is as planned: with `ignore_eos`, and in a search
    for the `capacity`, whose load is defined by this limit.
    """

    concurrency: int | None
    slo: Slo | None = None
    full_length: bool = False
    prompts: str | None = None
    """What was sent, in words; None for a run of an earlier kit."""
    sweep_prompts: str | None = None
    """What its sweep sent."""
    capacity: CapacityGoal | None = None

    @classmethod
    def of(cls, parameters: Mapping[str, JsonValue]) -> Self | None:
        """Return the load of these parameters of a manifest; None if they are not of a load."""
        concurrency, slo = parameters.get("concurrency"), parameters.get("slo")
        if not isinstance(concurrency, int):
            return None
        limits = Slo.model_validate(slo) if isinstance(slo, dict) else None
        is_open = any(parameters.get(name) is not None for name in ("rate", "replay"))
        capacity = parameters.get("capacity")
        goal = CapacityGoal.model_validate(capacity) if isinstance(capacity, dict) else None
        full_length = parameters.get("ignore_eos") is True or goal is not None
        prompts = sweep_prompts = _with_turns(_prompts(parameters), parameters)
        if (parameters.get("prompts"), parameters.get("sweep_prompts")) == ("fixed", "distinct"):
            sweep_prompts = _prompts({**parameters, "prompts": "distinct"})
        return cls(None if is_open else concurrency, limits, full_length, prompts, sweep_prompts, goal)


def _prompts(parameters: Mapping[str, JsonValue]) -> str | None:
    """Return the prompts of a load in words; None where they are those of an earlier kit."""
    if "prompts_file" not in parameters:
        return None
    match parameters.get("prompts"):
        case "distinct":
            return "distinct, all of one length"
        case "synthetic":
            text = (
                f"random words, {parameters.get('prompt_tokens')} {parameters.get('prompt_tokens_unit', 'tokens')} each"
            )
            share = parameters.get("prefix_share")
            return f"{text}, of which {share:.0%} are the same in all" if isinstance(share, float) and share else text
        case "file":
            return f"{parameters['prompts_file']}, SHA-256 {str(parameters.get('prompts_file_sha256'))[:12]}…"
    return "one prompt for all requests"


def _with_turns(prompts: str | None, parameters: Mapping[str, JsonValue]) -> str | None:
    """Return the prompts in words with the turns of conversations and the time between them, if there are any."""
    if prompts is None or (turns := parameters.get("turns")) is None:
        return prompts
    most = "up to " if parameters.get("prompts") == "file" else ""
    think = parameters.get("think_time")
    return f"{prompts}; conversations of {most}{turns} turns, think time {'none' if think is None else think}"
