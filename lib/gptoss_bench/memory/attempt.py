"""Run an attempt to load weights in a child process with limited memory, and describe how it ended.

Two kinds of attempt use this: tensor_allocation.py makes the tensors of an architecture one by one, without files;
transformers_loader.py loads a checkpoint with transformers' own code.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Any, TypeVar

from gptoss_bench.memory.architecture import Allocation
from gptoss_client import UsageError

Progress = TypeVar("Progress")

SIGKILL_EXIT_CODE = 137
LIMIT_BY_DEVICE = {"cpu": "CPU address-space limit", "cuda": "CUDA memory fraction"}
# One thread and one malloc arena: otherwise glibc reserves address space that is not part of the budget. The loader
# must not read ahead in threads, which would change its order, and must not use the network.
CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",  # a freed tensor is unmapped at once and leaves no hole in a heap
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt to load ended."""

    outcome: str  # "out of memory", "fits", "killed", "error"; of the loader also "offloaded" or "unpacked"
    architecture: str
    dtype: str
    budget_bytes: int
    predicted: Allocation | None  # None: predicted to fit
    reached: Allocation | None  # the first allocation that was not made; None: all were made
    allocated_bytes: int
    error: str | None
    exit_code: int  # as in a shell: 137 is SIGKILL, which the kernel's out-of-memory killer sends
    seconds: float
    how: str
    # Reported by the child: counts of the CUDA allocator, or peaks of address space and resident memory. Empty if the
    # child ended before it could report them.
    usage_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def layers_apart(self) -> int | None:
        """Return by how many layers the prediction was wrong; None if it cannot be compared."""
        if self.outcome not in ("out of memory", "fits"):
            return None
        if self.predicted is None or self.reached is None:
            return 0 if self.predicted is self.reached else None
        return abs(self.predicted.stage - self.reached.stage)

    def summary(self) -> "AttemptSummary":
        """Return what a run's summary stores of it."""
        stored = {each.name: getattr(self, each.name) for each in fields(self)}
        stored["predicted"] = self.predicted and self.predicted.label
        stored["reached"] = self.reached and self.reached.label
        return AttemptSummary(**stored, layers_apart=self.layers_apart)


@dataclass(frozen=True, slots=True)
class AttemptSummary:
    """What a run's summary stores of an `Attempt`: its fields, with the two allocations as their labels."""

    outcome: str
    architecture: str
    dtype: str
    budget_bytes: int
    predicted: str | None
    reached: str | None
    allocated_bytes: int
    error: str | None
    exit_code: int
    seconds: float
    how: str
    usage_bytes: Mapping[str, int]
    layers_apart: int | None


def run_child(
    module: str, drive: Callable[[subprocess.Popen[str]], tuple[Progress, dict[str, Any]]], timeout_s: float
) -> tuple[Progress, dict[str, Any], int, float]:
    """Run a module in a child process while `drive` talks to it.

    Args:
        module: run by `python -m`.
        drive: exchanges messages with the child; returns the progress and the last answer, {} if there was none.
        timeout_s: the child is killed after this time.

    Returns:
        The progress; the last answer, or one that explains why there was none; the exit code as in a shell; and the
        duration in seconds.

    Raises:
        UsageError: the child rejected the attempt.
    """
    started, kills_before = time.perf_counter(), count_oom_kills()
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | CHILD_ENVIRONMENT,
        )
        timed_out = threading.Event()
        with child, _killed_after(child, timeout_s, timed_out):
            progress, answer = drive(child)
        stderr.seek(0)
        last_line = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
    if "usage" in answer:
        raise UsageError(answer["usage"])
    exit_code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    if timed_out.is_set():
        answer = {"outcome": "error", "error": f"stopped: no end within {timeout_s:g} s"}
    elif not answer and exit_code > 128:
        answer = {"outcome": "killed", "error": explain_signal(exit_code, kills_before, count_oom_kills())}
    elif not answer:
        answer = {"outcome": "error", "error": last_line or None}
    return progress, answer, exit_code, time.perf_counter() - started


def send_question(child: subprocess.Popen[str], question: dict[str, Any]) -> None:
    """Write one line of JSON to the child. Raises OSError if the child has ended."""
    assert child.stdin is not None  # run_child opened a pipe
    try:
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
    except BrokenPipeError:
        with suppress(BrokenPipeError):
            child.stdin.close()  # else Popen.__exit__ would write the rest again and raise
        raise


def count_oom_kills() -> int | None:
    """Return how many processes the kernel's out-of-memory killer has killed since boot; None if unknown."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return None
    return int(counts["oom_kill"]) if "oom_kill" in counts else None


def explain_signal(exit_code: int, oom_kills_before: int | None, oom_kills_after: int | None) -> str:
    """Return what probably ended a process that died of a signal, from the kernel's counts of its kills."""
    if exit_code != SIGKILL_EXIT_CODE:
        return f"ended by signal {exit_code - 128} (exit code {exit_code})"
    if oom_kills_before is None or oom_kills_after is None:
        return "killed (exit code 137, SIGKILL): most likely by the system's out-of-memory killer"
    if oom_kills_after > oom_kills_before:
        return "killed (exit code 137, SIGKILL) by the kernel's out-of-memory killer, whose count rose meanwhile"
    return "killed (exit code 137, SIGKILL), as by the out-of-memory killer, but the kernel counted no such kill"


def check_request(device: str, budget_bytes: int, timeout_s: float) -> None:
    """Raise UsageError if the budget, the time limit or the device is not possible on this machine."""
    if reason := why_no_limit(sys.platform, device):
        raise UsageError(reason)
    if budget_bytes <= 0 or not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise UsageError("the budget and the time limit of an attempt must be above zero and finite")


def why_no_limit(platform: str, device: str) -> str | None:
    """Return why memory cannot be limited for a device on a platform (a `sys.platform`); None if it can."""
    if device not in LIMIT_BY_DEVICE:
        return f"device {device!r} is unknown; choose one of {', '.join(LIMIT_BY_DEVICE)}"
    if device == "cpu" and not platform.startswith("linux"):
        return f"an address-space limit needs Linux and this is {platform}; run it in a Linux container, or on cuda"
    return None


@contextmanager
def _killed_after(child: subprocess.Popen[str], timeout_s: float, timed_out: threading.Event) -> Iterator[None]:
    """Kill the child and set `timed_out` if the block takes longer than `timeout_s`."""

    def kill() -> None:
        timed_out.set()
        child.kill()

    timer = threading.Timer(timeout_s, kill)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()
