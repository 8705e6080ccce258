"""Many fits at once: every model, dtype, card and load, and what of it a run keeps."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_bench.architecture import REST, Architecture
from gptoss_bench.capacity import Fit, fit, largest_sequences
from gptoss_bench.memory import kv_bytes, parameters_by_module, weights_bytes


@dataclass(frozen=True, slots=True)
class Room:
    """What is left on one device under one load, and how many sequences of its context would fit there at most."""

    fit: Fit
    largest_sequences: int


def rooms(
    architectures: Sequence[Architecture],
    dtypes: Sequence[str],
    devices: Iterable[tuple[str, int]],
    loads: Sequence[tuple[int, int]],
) -> list[Room]:
    """Each model at each dtype under each load of (context, sequences) on each device, given as name and bytes."""
    cards = list(devices)
    found = [
        fit(model, dtype, name, have, context=context, sequences=sequences)
        for model in architectures
        for dtype in dtypes
        for context, sequences in loads
        for name, have in cards
    ]
    models = {model.name: model for model in architectures}
    return [
        Room(one, largest_sequences(models[one.model], one.dtype, one.have_bytes, context=one.context)) for one in found
    ]


def summary(
    architectures: Iterable[Architecture], fits: Iterable[Fit], contexts: Sequence[int]
) -> dict[str, dict[str, Any]]:
    """What a run keeps of all this, as JSON types.

    "architectures": {name: {"parameters", "weights_bytes": {dtype}, "kv_bytes": {context as text}}};
    "fits": {device: {name: {dtype: bool}}}.
    """
    described = {
        each.name: {
            "parameters": sum(parameters_by_module(each).values()),
            "weights_bytes": {dtype: weights_bytes(each, dtype) for dtype in REST},
            "kv_bytes": {str(context): kv_bytes(each, context) for context in contexts},
        }
        for each in architectures
    }
    fitting: dict[str, Any] = {}
    for one in fits:
        fitting.setdefault(one.device, {}).setdefault(one.model, {})[one.dtype] = one.fits
    return {"architectures": described, "fits": fitting}
