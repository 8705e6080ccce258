"""Where a run was made: the machine, its GPUs, and the versions of the code. Facts only, no host or user name."""
# MERGED: Where a result comes from, on one line: for figures, pages and reports. Pure.

import importlib.metadata
import os
import platform
import shutil
import subprocess
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from gptoss_bench import paths

PACKAGES = (
    "gptoss-bench",
    "httpx",
    "numpy",
    "pandas",
    "pyarrow",
    "papermill",
    "transformers",
    "torch",
    "xllamacpp",
)


def machine_facts() -> dict[str, Any]:
    """CPU model and count, memory in GiB, system and Python version."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def installed_gpus() -> list[dict[str, Any]]:
    """Name, memory in MiB and driver of each NVIDIA GPU; empty where there is none."""
    if shutil.which("nvidia-smi") is None:
        return []
    query = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    answer = _output(query)
    rows = [[part.strip() for part in line.split(",")] for line in answer.splitlines() if line.count(",") == 2]
    return [
        {"name": name, "memory_mib": int(memory) if memory.isdigit() else None, "driver": driver}
        for name, memory, driver in rows
    ]


def code_version() -> dict[str, Any]:
    """Version of the kit, the commit of its checkout (None outside one), and whether that was changed since."""
    commit = _output(["git", "rev-parse", "--short=12", "HEAD"], cwd=paths.ROOT).strip() or None
    changed = _output(["git", "status", "--porcelain", "--", "lib", "notebooks"], cwd=paths.ROOT).strip()
    return {"version": _version("gptoss-bench"), "commit": commit, "dirty": bool(changed) if commit else None}


def package_versions() -> dict[str, str | None]:
    """Installed version of each package that can move a number; None where it is not installed."""
    return {name: _version(name) for name in PACKAGES}


def _version(name: str) -> str | None:
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return None


def _output(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None


def run_caption(manifest: Mapping[str, Any]) -> str:
    """Label, engine, version, model, hardware and run, on one line."""
    endpoint = manifest.get("endpoint") or {}
    gpus = [gpu["name"] for gpu in manifest.get("gpus", [])]
    machine = manifest.get("machine", {})
    hardware = ", ".join(gpus) or (f"no GPU, {machine.get('cores')} × {machine.get('cpu')}" if machine else "")
    engine = " ".join(str(endpoint[name]) for name in ("engine", "version") if endpoint.get(name))
    model = " ".join(str(endpoint[name]) for name in ("model", "quantisation") if endpoint.get(name))
    parts = (manifest.get("label"), engine, model, hardware, manifest.get("run_id"))
    return " · ".join(part for part in parts if part)
