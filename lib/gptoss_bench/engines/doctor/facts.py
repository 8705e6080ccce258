"""Gather the facts about this machine for the doctor: programs, GPUs, models, disk, limits and clocks."""

import asyncio
import platform
import re
import shutil
import socket
import statistics
import subprocess
import time
from collections.abc import Iterable, Mapping
from itertools import pairwise
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.asking import question_client
from gptoss_bench.engines.doctor.checks import MachineFacts, Program
from gptoss_bench.engines.launch import version_beside
from gptoss_bench.engines.model_files import hub_cache, is_fetched
from gptoss_bench.engines.ollama import manifest_of, model_store, running_service, service_url
from gptoss_bench.engines.random_model import RandomModel
from gptoss_bench.engines.registry import ENGINE_SPECS
from gptoss_bench.engines.server_facts import fetch
from gptoss_bench.runs import package_versions, query_nvidia_smi
from gptoss_client import (
    TIMESTAMP_ANCILLARY_BYTES,
    enable_kernel_timestamps,
    hide_secrets,
    kernel_timestamp_ns,
    text_at,
)

PATIENCE_S = 1.0  # with the first kernel timestamp
ANSWER_S = 60.0  # vLLM imports torch before it prints its version
CLOCK_SOURCE = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
PCI = Path("/sys/bus/pci/devices")
NVIDIA, DISPLAY = "0x10de", "0x03"  # PCI vendor, and the class of display controllers


def gather_facts(models: Mapping[str, str], engines: Iterable[str] = ("ollama", "vllm")) -> MachineFacts:
    """Return the facts about this machine: of the programs of these engines.

    `models` is the model of each scenario that needs to fetch one.
    """
    cards, smi = query_nvidia_smi()
    found = {"local": paths.TINY_MODEL.name if paths.TINY_MODEL.is_file() else None}
    programs = {name: program(ENGINE_SPECS[name].program) for name in engines}
    if name := models.get("a10"):
        service = asyncio.run(ollama_service(name))
        found["a10"] = "in this user's store" if ollama_stored(name) else None
        if service is not None:  # it is used where it runs
            programs["ollama"], found["a10"] = service, f"at {hide_secrets(service_url())}"
    if name := models.get("h100"):
        found["h100"] = hub_model(name)
    return MachineFacts(
        system=platform.system(),
        cards=cards,
        pci_devices=pci_devices(),
        smi=smi,
        programs={name: one for name, one in programs.items() if one is not None},
        models=found,
        free_bytes={"results": free_bytes(paths.RESULTS), "h100": free_bytes(weights_folder(models.get("h100", "")))},
        open_files=open_files(),
        clock=_read(CLOCK_SOURCE),
        clock_read_ns=clock_read_ns(),
        kernel_timestamps=kernel_timestamps(),
        packages=package_versions(),
    )


def pci_devices() -> int:
    """Return the number of NVIDIA GPUs on the bus, with or without a driver."""
    found = [device for device in PCI.glob("*") if _read(device / "vendor") == NVIDIA]
    return sum((_read(device / "class") or "").startswith(DISPLAY) for device in found)


def program(name: str) -> Program | None:
    """Return an engine on PATH, or in the environment build/`name` of this checkout."""
    folder = paths.ROOT / "build" / name / "bin"
    for where, found in (("on PATH", shutil.which(name)), (f"in build/{name}", shutil.which(name, path=folder))):
        if found:
            return Program(where, version_beside(Path(found), name) or _reported(found))
    return None


def _reported(executable: str) -> str | None:
    """Return the version that --version prints; a warning that no server runs may surround it."""
    _, said = _answer([executable, "--version"])
    found = re.search(r"\b(\d+\.\d+\.\d+\S*)", said)
    return found[1] if found else None


async def ollama_service(model: str) -> Program | None:
    """Return the Ollama that runs where OLLAMA_HOST or its default says, if it has the model."""
    url = await running_service(model)
    if url is None:
        return None
    async with question_client(url) as http:
        return Program(f"running at {hide_secrets(url)}", text_at((await fetch(http, "/api/version")).body, "version"))


def ollama_stored(model: str) -> bool:
    """Return whether a model was pulled into the store of this user, where an `ollama serve` of this user looks."""
    return manifest_of(model_store(), model).is_file()


def hub_model(name: str) -> str | None:
    """Return where a model of the hub is: in a folder of that name, or in the cache; None if it is neither."""
    if random := RandomModel.parse(name):
        return "random weights, made here" if (random.folder() / "config.json").is_file() else None
    if (Path(name) / "config.json").is_file():
        return "a folder of this machine"
    return "in the hub's cache" if is_fetched(name) else None


def weights_folder(name: str) -> Path:
    """Return where the weights of a model would be written: those of a random one are made, all others fetched."""
    return paths.RANDOM_CHECKPOINTS if RandomModel.parse(name) else hub_cache()


def free_bytes(folder: Path) -> int | None:
    """Return the free bytes on the disk of a folder, or of its nearest existing parent."""
    there = next((path for path in (folder, *folder.parents) if path.exists()), None)
    try:
        return None if there is None else shutil.disk_usage(there).free
    except OSError:
        return None


def open_files() -> tuple[int, int] | None:
    """Return the soft and hard limits of this process; None if there is none."""
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


def kernel_timestamps() -> bool:
    """Return whether a byte over loopback carries a kernel timestamp; the kernel starts some time after the request."""
    with socket.create_server(("127.0.0.1", 0)) as server, socket.create_connection(server.getsockname()) as sender:
        receiver, _ = server.accept()
        with receiver:
            receiver.settimeout(PATIENCE_S)
            enable_kernel_timestamps(receiver)
            until_s = time.monotonic() + PATIENCE_S
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
