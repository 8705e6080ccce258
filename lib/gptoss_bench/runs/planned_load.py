"""What the parameters of a run say about its load, as far as the summary depends on it."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self

from pydantic import JsonValue

from gptoss_bench.runs.summary import Slo


@dataclass(frozen=True, slots=True)
class PlannedLoad:
    """The slots of a closed loop, None for an open loop, and the limits that a good request meets, if there are any.

    `full_length` says that every answer was to run up to the token limit (`ignore_eos`).
    """

    concurrency: int | None
    slo: Slo | None = None
    full_length: bool = False

    @classmethod
    def of(cls, parameters: Mapping[str, JsonValue]) -> Self | None:
        """Return the load of these parameters of a manifest; None if they are not of a load."""
        concurrency, slo = parameters.get("concurrency"), parameters.get("slo")
        if not isinstance(concurrency, int):
            return None
        limits = Slo.model_validate(slo) if isinstance(slo, dict) else None
        is_open = any(parameters.get(name) is not None for name in ("rate", "replay"))
        full_length = parameters.get("ignore_eos") is True
        return cls(None if is_open else concurrency, limits, full_length)
