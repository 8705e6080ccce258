"""Find the files of a model (a folder or the hub's cache), check the disk space for a download, count its weights."""

import os
import shutil
from pathlib import Path

from gptoss_bench.memory import architectures, checkpoint_totals, has_random_weights, weights_bytes
from gptoss_bench.paths import ROOT
from gptoss_bench.runs import RANDOM_NAME, model_label
from gptoss_client import UsageError


def local_model(model: str) -> Path | None:
    """Return the folder that a model's name means; None where it is a name on the hub.

    Raises UsageError where the name is a path without a checkpoint.
    """
    folder = Path(model).expanduser()
    if not folder.is_dir() and (ROOT / model).is_dir():
        folder = ROOT / model  # a profile of this checkout, used from another folder
    if folder.is_dir() or folder.is_absolute() or model.startswith((".", "~", "build/")):
        if not (folder / "config.json").is_file():
            raise UsageError(f"{model} is no folder with a checkpoint: config.json is missing there")
        return folder.resolve()
    return None


def hub_cache() -> Path:
    """Return the folder in which Hugging Face's libraries keep their downloads."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def is_fetched(model: str) -> bool:
    """Return whether the hub's cache has weights of this model."""
    snapshots = hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*/*.safetensors"))


def require_disk_space_for(model: str) -> None:
    """Raise UsageError where a gpt-oss has to be downloaded and does not fit on the disk."""
    architecture = architectures().get(model.rpartition("/")[2])
    if architecture is None or is_fetched(model):
        return
    where = hub_cache()
    there = next(path for path in (where, *where.parents) if path.exists())
    message = disk_space_error(model, weights_bytes(architecture, "mxfp4"), shutil.disk_usage(there).free, where)
    if message is not None:
        raise UsageError(message)


def disk_space_error(model: str, need_bytes: float, free_bytes: float, where: Path) -> str | None:
    """Return the error message for too little disk space at `where`; None if there is enough."""
    if free_bytes >= need_bytes:
        return None
    return (
        f"{model} has to be downloaded and needs {need_bytes / 1e9:.1f} GB, "
        f"{where} has {free_bytes / 1e9:.1f} GB free: "
        "free some space, or set HF_HOME to a folder on another disk"
    )


def count_parameters(folder: Path) -> int | None:
    """Return the number of weights in a folder's *.safetensors headers; None where no file is complete."""
    try:
        found = checkpoint_totals(folder)
    except UsageError:
        return None
    return None if found is None else found.parameters


def checkpoint_label(model: str, folder: Path | None) -> str | None:
    """Return the labels of a model: whether it is tiny, and whether the config in its folder says random weights."""
    parameters = count_parameters(folder) if folder else None
    named = f"{model} {RANDOM_NAME}" if folder and has_random_weights(folder) else model
    return model_label(named, parameters)
