"""Words that a run must carry, decided by what the server says or by the weights that it was given."""

from pathlib import Path

from gptoss_bench.checkpoint import totals
from gptoss_bench.errors import UsageError
from gptoss_bench.paths import TINY_CHECKPOINT

TINY_LABEL = "TINY MODEL"
TINY_PARAMETERS = 100e6  # a gpt-oss with fewer parameters than this is a toy, whoever made it
TRUTH_LABEL = "TRUTH SERVER"
CPU_LABEL = "CPU"
REMOTE_LABEL = "REMOTE SERVER"  # what the manifest says of machine and GPUs is of the client alone


def tiny_label(parameters: object) -> str | None:
    """The label of a model with so many parameters, None where it is a real one or the number is not known."""
    return TINY_LABEL if isinstance(parameters, int) and parameters < TINY_PARAMETERS else None


def label_of(model: str, parameters: object) -> str | None:
    """The label of a model of that name: by its weights where they are known, and of the kit's own by its name."""
    ours = TINY_LABEL if model.rpartition("/")[2] == TINY_CHECKPOINT.name else None
    return tiny_label(parameters) or ours


def joined(*labels: str | None) -> str | None:
    """Several labels as one, each once; None where there is none."""
    parts = [part for label in labels if label for part in label.split(", ")]
    return ", ".join(dict.fromkeys(parts)) or None


def count_parameters(folder: Path) -> int | None:
    """The number of weights in a folder's *.safetensors, from their headers; None where it has none that is whole."""
    try:
        found = totals(folder)
    except UsageError:
        return None
    return None if found is None else found.parameters
