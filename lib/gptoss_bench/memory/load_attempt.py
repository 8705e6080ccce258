"""Load a model's weights into a budget that is too small, for real, in a process that may die of it.

Parent and child go in lockstep over two pipes: the parent names one tensor, the child allocates it and answers.
So the parent knows what was under way however the child ends, and a child whose parent is gone stops by itself.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.capacity import first_not_to_fit
from gptoss_client import UsageError

Known = TypeVar("Known")

KILLED = 137
HOW = {"cpu": "CPU address-space limit", "cuda": "CUDA memory fraction"}
# One thread and one arena: otherwise glibc reserves address space that the budget did not mean. A loader that reads
# ahead in threads has no order, and one that goes on the network has no place here.
CHILD_ENVIRONMENT = {
    "OMP_NUM_THREADS": "1",
    "MALLOC_ARENA_MAX": "1",
    "MALLOC_MMAP_THRESHOLD_": "1048576",  # what a tensor took goes back at once, with no hole left in a heap
    "HF_DEACTIVATE_ASYNC_LOAD": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_VERBOSITY": "error",
}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt to load went. `reached` is the allocation under way at the end, None where all were made.

    `exit_code` is as a shell shows it: 137 is SIGKILL, which is what the kernel's out-of-memory killer sends.
    `usage_bytes` is the child's own account: the CUDA allocator's counts, or peaks of address space and resident
    memory; empty where the child could not give it any more.
    """

    outcome: str  # "out of memory", "fits", "killed", "error"; of a loader also "offloaded" or "unpacked": see loading
    architecture: str
    dtype: str
    budget_bytes: int
    predicted: Allocation | None
    reached: Allocation | None
    allocated_bytes: int
    error: str | None
    exit_code: int
    seconds: float
    how: str
    usage_bytes: Mapping[str, int] = field(default_factory=dict)

    @property
    def layers_apart(self) -> int | None:
        """How many layers the prediction was off, 0 where it fits as predicted; None where there is no telling."""
        if self.outcome not in ("out of memory", "fits"):
            return None
        if self.predicted is None or self.reached is None:
            return 0 if self.predicted is self.reached else None
        return abs(self.predicted.stage - self.reached.stage)

    def summary(self) -> dict[str, Any]:
        """All of it as JSON types, its two allocations in words."""
        return asdict(self) | {
            "predicted": self.predicted and self.predicted.words,
            "reached": self.reached and self.reached.words,
            "layers_apart": self.layers_apart,
        }


def attempt_load(
    architecture: Architecture,
    budget_bytes: int,
    dtype: str = "bf16",
    *,
    device: str = "cpu",
    timeout_s: float = 120,
    watch: Callable[[int, Allocation], None] | None = None,
) -> Attempt:
    """Allocate the weights tensor by tensor in a child process that may take `budget_bytes` for them.

    On "cpu" the limit is on address space (Linux): the tensors have their true shapes but are never written to, so
    hardly any memory is used. On "cuda" it is a fraction of the first GPU. `watch` is called with the child's
    process id before each allocation. Raises UsageError where the budget or the machine makes no sense of it.
    """
    refuse_senseless(device, budget_bytes, timeout_s)
    steps = architecture.allocations(dtype)

    def drive(child: subprocess.Popen[str]) -> tuple[tuple[int, Allocation | None], dict[str, Any]]:
        return _drive(child, device, budget_bytes, steps, watch)

    (allocated, reached), answer, exit_code, seconds = run_child(
        "gptoss_bench.memory.load_attempt_child", drive, timeout_s
    )
    return Attempt(
        outcome=answer["outcome"],
        architecture=architecture.name,
        dtype=dtype,
        budget_bytes=budget_bytes,
        predicted=first_not_to_fit(steps, budget_bytes),
        reached=reached,
        allocated_bytes=allocated,
        error=answer.get("error"),
        exit_code=exit_code,
        seconds=seconds,
        how=HOW[device],
        usage_bytes=answer.get("usage_bytes", {}),
    )


def run_child(
    module: str, drive: Callable[[subprocess.Popen[str]], tuple[Known, dict[str, Any]]], timeout_s: float
) -> tuple[Known, dict[str, Any], int, float]:
    """Run a module in a process of its own while `drive` talks to it, and say how it ended.

    Returns the two things that `drive` returned, the answer replaced where the child gave none; the exit code as a
    shell shows it; and the seconds it took. Raises UsageError where the child calls the attempt senseless.
    """
    started, kills = time.perf_counter(), oom_kills()
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=os.environ | CHILD_ENVIRONMENT,
        )
        late = threading.Event()
        with child, _ending(child, timeout_s, late):
            known, answer = drive(child)
        complaints.seek(0)
        last_words = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
    if "usage" in answer:
        raise UsageError(answer["usage"])
    exit_code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    if late.is_set():
        answer = {"outcome": "error", "error": f"stopped: no end within {timeout_s:g} s"}
    elif not answer and exit_code > 128:
        answer = {"outcome": "killed", "error": killed_words(exit_code, kills, oom_kills())}
    elif not answer:
        answer = {"outcome": "error", "error": last_words or None}
    return known, answer, exit_code, time.perf_counter() - started


def oom_kills() -> int | None:
    """How many processes the kernel's out-of-memory killer has ended since boot; None where it does not say."""
    try:
        counts = dict(line.split() for line in Path("/proc/vmstat").read_text().splitlines())
    except OSError:
        return None
    return int(counts["oom_kill"]) if "oom_kill" in counts else None


def killed_words(exit_code: int, before: int | None, after: int | None) -> str:
    """Who is likely to have ended a process that died of a signal, by the kernel's own count of its kills."""
    if exit_code != KILLED:
        return f"ended by signal {exit_code - 128} (exit code {exit_code})"
    if before is None or after is None:
        return "killed (exit code 137, SIGKILL): most likely by the system's out-of-memory killer"
    if after > before:
        return "killed (exit code 137, SIGKILL) by the kernel's out-of-memory killer, whose count rose meanwhile"
    return "killed (exit code 137, SIGKILL), as the out-of-memory killer does; but the kernel counted no such kill"


def refuse_senseless(device: str, budget_bytes: int, timeout_s: float) -> None:
    """Raise UsageError where the budget, the time limit or the machine makes no sense of an attempt."""
    if refusal := cannot_limit(sys.platform, device):
        raise UsageError(refusal)
    if budget_bytes <= 0 or not 0 < timeout_s <= threading.TIMEOUT_MAX:
        raise UsageError("the budget and the time limit of an attempt have to be above zero and finite")


def cannot_limit(platform: str, device: str) -> str | None:
    """Why no budget can be imposed on that device of that platform (a `sys.platform`); None where one can."""
    if device not in HOW:
        return f"device {device!r} is unknown; choose one of {', '.join(HOW)}"
    if device == "cpu" and not platform.startswith("linux"):
        return f"an address-space limit needs Linux and this is {platform}; run it in a Linux container, or on cuda"
    return None


@contextmanager
def _ending(child: subprocess.Popen[str], timeout_s: float, late: threading.Event) -> Iterator[None]:
    """Kill the child, and say so in `late`, if the block takes longer."""

    def end() -> None:
        late.set()
        child.kill()

    timer = threading.Timer(timeout_s, end)
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


def _drive(
    child: subprocess.Popen[str],
    device: str,
    budget_bytes: int,
    steps: tuple[Allocation, ...],
    watch: Callable[[int, Allocation], None] | None,
) -> tuple[tuple[int, Allocation | None], dict[str, Any]]:
    """Bytes allocated, the allocation that was not made, and the child's last answer: empty if it is gone."""
    allocated = 0
    answer = _ask(child, {"device": device, "budget_bytes": budget_bytes})
    if answer.get("outcome") != "fits":
        return (allocated, None), answer
    for step in steps:
        if watch:
            watch(child.pid, step)
        answer = _ask(child, {"shape": step.shape, "element": step.element})
        if answer.get("outcome") != "fits":
            return (allocated, step), answer
        allocated += step.bytes
    return (allocated, None), _ask(child, {"usage": True})


def _ask(child: subprocess.Popen[str], question: dict[str, Any]) -> dict[str, Any]:
    assert child.stdin is not None  # both were asked for as pipes
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
        answer: dict[str, Any] = json.loads(child.stdout.readline() or "{}")
    except (OSError, ValueError):  # it is gone, perhaps in the middle of a line
        return {}
    return answer
