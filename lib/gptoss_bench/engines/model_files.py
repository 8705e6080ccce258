"""Where a model's files are: in a folder, in the hub's cache, or still to be fetched - and is there room for them?"""
# MERGED: How many weights a model has, by its files: what decides whether a run is labelled as one of a tiny model

import os
import shutil
from pathlib import Path

from gptoss_bench.memory import architectures, checkpoint_totals, weights_bytes
from gptoss_bench.paths import ROOT
from gptoss_client import UsageError


def local_model(model: str) -> Path | None:
    """The folder that a model's name means, None where it is a name on the hub.

    Raises UsageError where it looks like a folder and holds no checkpoint.
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
    """The folder in which Hugging Face's libraries keep what they fetched."""
    home = Path(os.environ.get("HF_HOME") or Path.home() / ".cache" / "huggingface")
    return Path(os.environ.get("HF_HUB_CACHE") or home / "hub")


def is_fetched(model: str) -> bool:
    """Whether the hub's cache has weights of this model."""
    snapshots = hub_cache() / f"models--{model.replace('/', '--')}" / "snapshots"
    return any(snapshots.glob("*/*.safetensors"))


def require_disk_space_for(model: str) -> None:
    """Raise UsageError where a gpt-oss would have to be fetched and does not fit on the disk."""
    architecture = architectures().get(model.rpartition("/")[2])
    if architecture is None or is_fetched(model):
        return
    where = hub_cache()
    there = next(path for path in (where, *where.parents) if path.exists())
    words = lacking(model, weights_bytes(architecture, "mxfp4"), shutil.disk_usage(there).free, where)
    if words is not None:
        raise UsageError(words)


def lacking(model: str, need_bytes: float, free_bytes: float, where: Path) -> str | None:
    """What is lacking at `where`, in words; None where there is room."""
    if free_bytes >= need_bytes:
        return None
    return (
        f"{model} has to be fetched and needs {need_bytes / 1e9:.1f} GB, {where} has {free_bytes / 1e9:.1f} GB free: "
        "make room, or name another disk by HF_HOME"
    )


def count_parameters(folder: Path) -> int | None:
    """Return the number of weights in a folder's *.safetensors, from their headers; None where none is whole."""
    try:
        found = checkpoint_totals(folder)
    except UsageError:
        return None
    return None if found is None else found.parameters
