"""Say how to install torch where it is missing: only the memory scenario needs it, and it is larger than all else."""

from importlib.util import find_spec

from gptoss_client import UsageError

NO_TORCH = "torch is not installed: run `make setup-torch` (200 MB for CPUs, gigabytes with CUDA)"


def require_torch() -> None:
    """Raise UsageError with the command that installs torch, if it is missing."""
    if find_spec("torch") is None:
        raise UsageError(NO_TORCH)
