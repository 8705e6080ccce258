"""How many weights a model has, by its files: what decides whether a run is labelled as one of a tiny model."""

from pathlib import Path

from gptoss_bench.checkpoint import totals
from gptoss_bench.errors import UsageError


def count_parameters(folder: Path) -> int | None:
    """Return the number of weights in a folder's *.safetensors, from their headers; None where none is whole."""
    try:
        found = totals(folder)
    except UsageError:
        return None
    return None if found is None else found.parameters
