"""Assemble the manifest of a run: machine, GPUs, code and packages (no host or user name), and its caption."""

import importlib.metadata
import os
import platform
import shutil
import subprocess
import time
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptoss_bench import paths

SCHEMA_VERSION = 2
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


def new_manifest(run_id: str, scenario: str, parameters: dict[str, Any], command: str | None) -> dict[str, Any]:
    """Return the manifest of a run that begins now; endpoint and end are still null."""
    return {
        "schema_version": SCHEMA_VERSION,
        "run_id": run_id,
        "scenario": scenario,
        "status": "running",
        "reason": None,
        "label": None,
        "command": command,
        "parameters": parameters,
        "code": code_version(),
        "machine": machine_facts(),
        "gpus": installed_gpus(),
        "endpoint": None,
        "clock": {"source": "CLOCK_MONOTONIC", "unit": "ns", "start_ns": time.perf_counter_ns()},
        "start_utc": utc_now(),
        "end_utc": None,
        "packages": package_versions(),
    }


def utc_now() -> str:
    """Return the time in UTC, in ISO format with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def machine_facts() -> dict[str, Any]:
    """Return CPU model and count, memory in GiB, system and Python version."""
    return {
        "cpu": _cpu_model(),
        "cores": os.cpu_count(),
        "memory_gib": _memory_gib(),
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        "python": platform.python_version(),
    }


def installed_gpus() -> list[dict[str, Any]]:
    """Return name, memory in MiB and driver of each NVIDIA GPU; empty without one."""
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
    """Return the version of the kit, the commit of its checkout (None outside one), and whether files were changed."""
    commit = _output(["git", "rev-parse", "--short=12", "HEAD"], cwd=paths.ROOT).strip() or None
    changed = _output(["git", "status", "--porcelain", "--", "lib", "notebooks"], cwd=paths.ROOT).strip()
    return {"version": _version("gptoss-bench"), "commit": commit, "dirty": bool(changed) if commit else None}


def package_versions() -> dict[str, str | None]:
    """Return the installed version of each package that can move a number; None if not installed."""
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
    """Return label, engine, version, model, hardware and run on one line."""
    endpoint = manifest.get("endpoint") or {}
    gpus = [gpu["name"] for gpu in manifest.get("gpus", [])]
    machine = manifest.get("machine", {})
    hardware = ", ".join(gpus) or (f"no GPU, {machine.get('cores')} × {machine.get('cpu')}" if machine else "")
    engine = " ".join(str(endpoint[name]) for name in ("engine", "version") if endpoint.get(name))
    model = " ".join(str(endpoint[name]) for name in ("model", "quantisation") if endpoint.get(name))
    parts = (manifest.get("label"), engine, model, hardware, manifest.get("run_id"))
    return " · ".join(part for part in parts if part)
