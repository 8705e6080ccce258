"""Define the labels that every figure and table of a run must show, and decide which label a model gets."""

from collections.abc import Iterable

from gptoss_bench.paths import TINY_CHECKPOINT

TINY_LABEL = "TINY MODEL"
RANDOM_LABEL = "RANDOM WEIGHTS"  # tensors and kernels of the true model; no answer has a meaning
REFERENCE_LABEL = "REFERENCE SERVER"
CPU_LABEL = "CPU"
REMOTE_LABEL = "REMOTE SERVER"  # what the manifest says of machine and GPUs is of the client alone
PARTIAL_LABEL = "PARTIAL OFFLOAD"  # part of the model was in the system's memory
NO_GPU_LABEL = "NO GPU"

NO_MODEL = (TINY_LABEL, RANDOM_LABEL, REFERENCE_LABEL)  # labels of runs in which no gpt-oss answered
TINY_PARAMETERS = 100e6  # a gpt-oss with fewer parameters than this is a toy, whoever made it


def tiny_model_label(parameters: object) -> str | None:
    """Return the label of a model with so many parameters: None for a real one, or where the number is not known."""
    return TINY_LABEL if isinstance(parameters, int) and parameters < TINY_PARAMETERS else None


def model_label(model: str, parameters: object) -> str | None:
    """Return the label of a model: by its number of parameters where that is known, of the kit's own by its name."""
    ours = TINY_LABEL if model.rpartition("/")[2] == TINY_CHECKPOINT.name else None
    return tiny_model_label(parameters) or ours


def join_labels(*labels: str | None) -> str | None:
    """Return the labels of one run as one, each word once; None where there is none."""
    return ", ".join(dict.fromkeys(word for label in labels for word in split_labels(label))) or None


def split_labels(label: str | None) -> list[str]:
    """Return the words of a run's label."""
    return label.split(", ") if label else []


def merge_labels(labels: Iterable[str | None]) -> str | None:
    """Return one label for several runs: that of each once, and none that another begins with."""
    every = list(dict.fromkeys(label for label in labels if label))
    kept = [one for one in every if not any(other != one and other.startswith(one) for other in every)]
    return " + ".join(kept) or None


def no_gpt_oss_labels(label: str | None) -> list[str]:
    """Return those words of a label that mean that no gpt-oss answered."""
    return [word for word in split_labels(label) if word in NO_MODEL]
