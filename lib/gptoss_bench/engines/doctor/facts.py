"""Looks at this machine for the doctor: programs, GPUs, models, disk, limits and clocks. Changes nothing."""

import json
import os
import platform
import re
import shutil
import socket
import statistics
import subprocess
import time
import urllib.request
from collections.abc import Mapping
from itertools import pairwise
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.engines.doctor.checks import GpuFacts, MachineFacts, Program
from gptoss_bench.engines.model_files import hub_cache, is_fetched
from gptoss_bench.engines.ollama import manifest_of, model_store
from gptoss_bench.runs import package_versions
from gptoss_client import TIMESTAMP_ANCILLARY_BYTES, enable_kernel_timestamps, kernel_timestamp_ns

ANSWER_S = 60.0  # vLLM imports torch before it tells its version
OLLAMA_ADDRESS = "127.0.0.1:11434"
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # PCI vendor, and the class of display controllers


def gather_facts(models: Mapping[str, str]) -> MachineFacts:
    """The facts about this machine; `models` is the model of each scenario that has one to be fetched."""
    cards, smi = nvidia_smi()
    found = {"local": paths.TINY_MODEL.name if paths.TINY_MODEL.is_file() else None}
    programs = {name: program(name) for name in ("ollama", "vllm")}
    if name := models.get("a10"):
        url = ollama_service(name)
        found["a10"] = "in this user's store" if ollama_stored(name) else None
        if url is not None:  # it is used where it runs
            found["a10"] = f"at {url}"
            programs["ollama"] = Program(f"running at {url}", _json(f"{url}/api/version").get("version"))
    if name := models.get("h100"):
        found["h100"] = hub_model(name)
    return MachineFacts(
        system=platform.system(),
        cards=cards,
        pci_devices=pci_devices(),
        smi=smi,
        programs={name: one for name, one in programs.items() if one is not None},
        models=found,
        free_bytes={"results": free_bytes(paths.RESULTS), "h100": free_bytes(hub_cache())},
        open_files=open_files(),
        clock=_read(CLOCK_SOURCE),
        clock_read_ns=clock_read_ns(),
        kernel_timestamps=kernel_timestamps(),
        packages=package_versions(),
    )


def nvidia_smi() -> tuple[tuple[GpuFacts, ...], str | None]:
    """Return the GPUs that nvidia-smi lists, and the reason if it lists none."""
    if shutil.which("nvidia-smi") is None:
        return (), "nvidia-smi is not on PATH"
    query = ["nvidia-smi", "--query-gpu=name,memory.total,memory.used,driver_version", "--format=csv,noheader,nounits"]
    code, said = _answer(query)
    if code != 0:
        return (), f"nvidia-smi says: {' '.join(said.split())[:160] or f'exit code {code}'}"
    rows = [[part.strip() for part in line.split(",")] for line in said.splitlines() if line.count(",") == 3]
    cards = tuple(GpuFacts(name, _mib(total), driver, _mib(used)) for name, total, used, driver in rows)
    return cards, None if cards else "nvidia-smi lists no GPU"


def _mib(text: str) -> int | None:
    return int(text) * 2**20 if text.isdigit() else None


def pci_devices() -> int:
    """How many NVIDIA GPUs are on the bus, whether a driver knows them or not."""
    found = [device for device in PCI.glob("*") if _read(device / "vendor") == NVIDIA]
    return sum((_read(device / "class") or "").startswith(DISPLAY) for device in found)


def program(name: str) -> Program | None:
    """An engine on PATH, or in the environment build/`name` of this checkout."""
    folder = paths.ROOT / "build" / name / "bin"
    for where, found in (("on PATH", shutil.which(name)), (f"in build/{name}", shutil.which(name, path=folder))):
        if found:
            return Program(where, _installed(Path(found), name) or _reported(found))
    return None


def _installed(executable: Path, name: str) -> str | None:
    """The version of the Python package beside an executable: starting the program may take half a minute."""
    found = executable.parent.parent.glob(f"lib/python3*/site-packages/{name}-*.dist-info")
    return next((folder.name.removesuffix(".dist-info").partition("-")[2] for folder in found), None)


def _reported(executable: str) -> str | None:
    """What it answers to --version; a warning that no server runs may stand before or after it."""
    _, said = _answer([executable, "--version"])
    found = re.search(r"\b(\d+\.\d+\.\d+\S*)", said)
    return found[1] if found else None


def ollama_service(model: str) -> str | None:
    """The address of an Ollama that runs where OLLAMA_HOST or its default says, if it has the model."""
    address = os.environ.get("OLLAMA_HOST") or OLLAMA_ADDRESS
    url = (address if "://" in address else f"http://{address}").rstrip("/")
    listed = _json(f"{url}/api/tags").get("models")
    names = [entry.get("name") for entry in listed if isinstance(entry, dict)] if isinstance(listed, list) else []
    return url if _tagged(model) in names else None


def ollama_stored(model: str) -> bool:
    """Whether it was pulled into the store of this user, where an `ollama serve` of this user looks."""
    return manifest_of(model_store(), model).is_file()


def _tagged(model: str) -> str:
    return model if ":" in model else f"{model}:latest"


def _json(url: str) -> dict[str, Any]:
    """The object that answers at `url`; empty where none does."""
    direct = urllib.request.build_opener(urllib.request.ProxyHandler({}))
    try:
        with direct.open(url, timeout=2.0) as answer:
            found = json.load(answer)
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def hub_model(name: str) -> str | None:
    """Where a model of the hub is: in a folder of that name, or in the cache."""
    if (Path(name) / "config.json").is_file():
        return "a folder of this machine"
    return "in the hub's cache" if is_fetched(name) else None


def free_bytes(folder: Path) -> int | None:
    """Free on the disk of that folder, or of the nearest one above it that is there."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def open_files() -> tuple[int, int] | None:
    """The limits of this process, soft and hard; None where there is none."""
    try:
        import resource
    except ImportError:  # Windows
        return None
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = (resource.RLIM_INFINITY, -1)
    return None if hard in unlimited else (hard if soft in unlimited else soft, hard)


def clock_read_ns() -> int:
    """Return the median time of one clock reading, in ns."""
    timestamps = [time.perf_counter_ns() for _ in range(2001)]
    return round(statistics.median(after - before for before, after in pairwise(timestamps)))


def kernel_timestamps(patience_s: float = 1.0) -> bool:
    """Return whether a byte over loopback carries a kernel timestamp; the kernel starts some time after the request."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            receiver.settimeout(patience_s)
            enable_kernel_timestamps(receiver)
            until_s = time.monotonic() + patience_s
            while time.monotonic() < until_s:
                sender.sendall(b"x")
                _, ancillary, _, _ = receiver.recvmsg(16, TIMESTAMP_ANCILLARY_BYTES)
                if kernel_timestamp_ns(ancillary) is not None:
                    return True
                time.sleep(0.01)
    return False


def _answer(command: list[str]) -> tuple[int, str]:
    try:
        done = subprocess.run(command, capture_output=True, text=True, errors="replace", timeout=ANSWER_S, check=False)
    except subprocess.TimeoutExpired:
        return 124, f"no answer within {ANSWER_S:g} s"
    except OSError as error:
        return 127, error.strerror or str(error)
    return done.returncode, done.stdout + done.stderr


def _read(file: Path) -> str | None:
    try:
        return file.read_text().strip()
    except OSError:
        return None
