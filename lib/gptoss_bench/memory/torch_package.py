"""Say how to install torch and transformers where they are missing: they are larger than all else together."""

from importlib.util import find_spec

from gptoss_client import UsageError

_PACKAGES = ("torch", "transformers")


def require_torch(*names: str) -> None:
    """Raise UsageError with the command that installs torch and transformers, if one of these is missing.

    Without names both have to be there.
    """
    missing = [name for name in names or _PACKAGES if find_spec(name) is None]
    if missing:
        raise UsageError(
            f"{' and '.join(missing)} not installed: run `make setup-torch` (300 MB for CPUs, gigabytes with CUDA)"
        )
