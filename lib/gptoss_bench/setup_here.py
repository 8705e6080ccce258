"""This machine's answer to what mxfp4_rules asks: installed versions, the first GPU's compute capability, the cache."""

import importlib.metadata
import os
import re
import shutil
import subprocess

from gptoss_bench.errors import UsageError
from gptoss_bench.mxfp4_rules import Setup

# Where transformers 5 and before it looked for the kernels on the hub.
KERNEL_REPOSITORIES = ("kernels-community/gpt-oss-triton-kernels", "kernels-community/triton_kernels")


def setup_here(*, dequantize: bool = False) -> Setup:
    """What is installed in the running Python. Raises UsageError where transformers is not."""
    transformers = installed("transformers")
    if transformers is None:
        raise UsageError("transformers is not installed; run make setup")
    return Setup(
        transformers=transformers,
        triton=installed("triton"),
        kernels=installed("kernels"),
        triton_kernels=installed("triton_kernels"),
        accelerate=installed("accelerate"),
        capability=compute_capability(),
        kernels_at_hand=kernels_at_hand(),
        dequantize=dequantize,
    )


def installed(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def compute_capability() -> tuple[int, int] | None:
    """That of the first NVIDIA GPU, by nvidia-smi; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else None


def kernels_at_hand() -> bool | None:
    """True where the hub's cache has the kernels, False where it has not and may not ask; None where asking decides."""
    from huggingface_hub.constants import HF_HUB_CACHE  # a second of import, and only this needs it

    folders = [f"models--{name.replace('/', '--')}" for name in KERNEL_REPOSITORIES]
    kinds = [folder.replace("models--", kind) for folder in folders for kind in ("models--", "kernels--")]
    if any(os.path.isdir(os.path.join(HF_HUB_CACHE, folder, "snapshots")) for folder in kinds):
        return True
    return False if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else None
