"""Query what is installed on this machine: its GPUs, by nvidia-smi, and the versions of Python packages."""

import importlib.metadata
import re
import shutil
import subprocess
from dataclasses import dataclass

TIMEOUT_S = 60.0  # a driver that no process holds open takes seconds to answer
_FIELDS = ("name", "memory.total", "memory.used", "driver_version", "compute_cap")


@dataclass(frozen=True, slots=True)
class SmiGpu:
    """A GPU as nvidia-smi reports it; None for what it does not."""

    name: str
    memory_mib: int | None
    used_mib: int | None
    driver: str
    compute_capability: tuple[int, int] | None


def query_nvidia_smi() -> tuple[tuple[SmiGpu, ...], str | None]:
    """Return the GPUs that nvidia-smi lists, and the reason if it lists none."""
    if shutil.which("nvidia-smi") is None:
        return (), "nvidia-smi is not on PATH"
    command = ["nvidia-smi", f"--query-gpu={','.join(_FIELDS)}", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=TIMEOUT_S, check=False)
    except subprocess.TimeoutExpired:
        return (), f"nvidia-smi did not answer within {TIMEOUT_S:g} s"
    except OSError as error:
        return (), f"nvidia-smi cannot be started: {error.strerror}"
    if done.returncode != 0:
        words = " ".join((done.stdout + done.stderr).split())[:160]
        return (), f"nvidia-smi says: {words or f'exit code {done.returncode}'}"
    rows = [[part.strip() for part in line.split(",")] for line in done.stdout.splitlines()]
    gpus = tuple(_gpu(*row) for row in rows if len(row) == len(_FIELDS))
    return gpus, None if gpus else "nvidia-smi lists no GPU"


def package_version(name: str) -> str | None:
    """Return the version of an installed package; None if it is not installed."""
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _gpu(name: str, total: str, used: str, driver: str, capability: str) -> SmiGpu:
    found = re.fullmatch(r"(\d+)\.(\d+)", capability)
    return SmiGpu(name, _mib(total), _mib(used), driver, (int(found[1]), int(found[2])) if found else None)


def _mib(text: str) -> int | None:
    return int(text) if text.isdigit() else None
