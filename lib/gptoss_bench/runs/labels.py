"""Define the labels that every figure and table of a run must show, and decide which label a model gets."""

from collections.abc import Iterable

from gptoss_bench.paths import TINY_CHECKPOINT

TINY_LABEL = "TINY MODEL"
RANDOM_LABEL = "RANDOM WEIGHTS"  # tensors and kernels of the true model; no answer has a meaning
RANDOM_NAME = "random-weights"  # in the name of a served model: its server reports nothing else of that
REFERENCE_LABEL = "REFERENCE SERVER"
CPU_LABEL = "CPU"
REMOTE_LABEL = "REMOTE SERVER"  # what the manifest says of machine and GPUs is of the client alone
PARTIAL_LABEL = "PARTIAL OFFLOAD"  # part of the model was in the system's memory
NO_GPU_LABEL = "NO GPU"
UNKNOWN_LABEL = "UNKNOWN MODEL"

# Labels that a user may state of a server that does not report them.
STATED_LABELS = (TINY_LABEL, RANDOM_LABEL, CPU_LABEL, PARTIAL_LABEL, NO_GPU_LABEL)
NO_MODEL = (TINY_LABEL, RANDOM_LABEL, REFERENCE_LABEL)  # labels of runs in which no gpt-oss answered
TINY_PARAMETERS = 100e6  # a gpt-oss with fewer parameters than this is a toy, whoever made it
WHOLE_PARAMETERS = 20e9  # random weights with fewer are some layers of a gpt-oss, whose speed is not that of the model


def tiny_model_label(parameters: object) -> str | None:
    """Return the label of a model with so many parameters: None for a real one, or where the number is not known."""
    return TINY_LABEL if isinstance(parameters, int) and parameters < TINY_PARAMETERS else None


def model_label(model: str, parameters: object) -> str | None:
    """Return the label of a model: by its number of parameters, and by a name of the kit's own models."""
    ours = TINY_LABEL if model.rpartition("/")[2] == TINY_CHECKPOINT.name else None
    if RANDOM_NAME not in model.lower():
        return tiny_model_label(parameters) or ours
    part = isinstance(parameters, int) and parameters < WHOLE_PARAMETERS
    return join_labels(TINY_LABEL if part else None, RANDOM_LABEL)


def join_labels(*labels: str | None) -> str | None:
    """Join labels to one text for display, each once; None if there is none."""
    return ", ".join(dict.fromkeys(one for label in labels for one in split_labels(label))) or None


def split_labels(label: str | None) -> list[str]:
    """Return the single labels of a joined text."""
    return label.split(", ") if label else []


def no_gpt_oss_labels(labels: Iterable[str]) -> list[str]:
    """Return those labels that mean that no gpt-oss answered."""
    return [label for label in labels if label in NO_MODEL]
