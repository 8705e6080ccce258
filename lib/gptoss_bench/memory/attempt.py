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
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_bench.memory.architecture import Allocation
from gptoss_bench.memory.torch_package import require_torch
from gptoss_client import RunFailed, UsageError

if TYPE_CHECKING:
    from gptoss_bench.runs import AttemptRecord

SIGKILL_EXIT_CODE = 137
COMPLETE_OUTCOMES = ("fits", "unpacked")  # all tensors were made on the device
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

    # "out of memory", "fits", "killed", "timeout", "error"; of transformers' loader also "offloaded" or "unpacked".
    outcome: str
    architecture: str
    dtype: str
    budget_bytes: int
    predicted: Allocation | None  # None: predicted to fit
    reached: Allocation | None  # the allocation at which it ended, which was not made; None: all were made
    allocated_bytes: int
    error: str | None
    exit_code: int  # as in a shell: 137 is SIGKILL, which the kernel's out-of-memory killer sends
    seconds: float
    how: str
    # Reported by the child: counts of the CUDA allocator, or peaks of address space and resident memory. Empty if the
    # child ended before it could report them.
    usage_bytes: Mapping[str, int] = field(default_factory=dict)
    decode_tokens: int = 0  # decoded one by one after loading; 0: none, or it did not come to that
    decode_s: float | None = None

    @property
    def layers_apart(self) -> int | None:
        """Return by how many layers the prediction was wrong; None if it cannot be compared."""
        if self.outcome not in ("out of memory", "fits"):
            return None
        if self.predicted is None or self.reached is None:
            return 0 if self.predicted is self.reached else None
        return abs(self.predicted.stage - self.reached.stage)

    def completed(self) -> "Attempt":
        """Return the attempt. Raises RunFailed if it ended in another way than memory that ran out or was enough."""
        if self.outcome not in ("out of memory", "fits"):
            raise RunFailed(f"the attempt in {self.dtype.upper()} was not completed: {self.outcome}: {self.error}")
        return self

    def summary(self) -> "AttemptRecord":
        """Return what a run's summary stores of it."""
        from gptoss_bench.runs import AttemptRecord  # with pydantic, which the attempt itself does not need

        stored = {each.name: getattr(self, each.name) for each in fields(self)}
        stored["predicted"] = self.predicted and self.predicted.label
        stored["reached"] = self.reached and self.reached.label
        return AttemptRecord(**stored, layers_apart=self.layers_apart)


@dataclass(frozen=True, slots=True)
class Load:
    """One load to attempt in a child process."""

    architecture: str
    dtype: str
    budget_bytes: int
    module: str  # of the child, run by `python -m`
    question: Mapping[str, object]  # for the child; it holds device and budget
    steps: Sequence[Allocation]  # in the order in which the child makes them
    predicted: Allocation | None
    how: str
    decode_tokens: int = 0


def run_load(load: Load, timeout_s: float) -> Attempt:
    """Run the child of a load, follow it to its end, and return how it ended; kill it after `timeout_s`.

    Raises UsageError if the child rejected the load, and where torch is not installed.
    """
    require_torch()
    started, kills_before = time.perf_counter(), count_oom_kills()
    with tempfile.TemporaryFile() as stderr:
        child = subprocess.Popen(
            [sys.executable, "-m", load.module],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=stderr,
            text=True,
            env=os.environ | CHILD_ENVIRONMENT,
        )
        timed_out = threading.Event()
        with child, _killed_after(child, timeout_s, timed_out):
            made, last = _follow(child, load.question)
        stderr.seek(0)
        last_line = stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
    if "usage" in last:
        raise UsageError(last["usage"])
    exit_code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    if timed_out.is_set() and not last:
        tensor = f"the last tensor made was {next(reversed(made))}" if made else "no tensor was made"
        last = {"outcome": "timeout", "error": f"no end within {timeout_s:g} s; {tensor}"}
    elif not last and exit_code > 128:
        last = {"outcome": "killed", "error": explain_signal(exit_code, kills_before, count_oom_kills())}
    elif not last:
        last = {"outcome": "error", "error": last_line or None}
    missing = [step for step in load.steps if step.name not in made]  # the first one, if the child named none
    named = [step for step in missing if step.name == last.get("at")]
    return Attempt(
        outcome=last["outcome"],
        architecture=load.architecture,
        dtype=load.dtype,
        budget_bytes=load.budget_bytes,
        predicted=load.predicted,
        reached=next(iter(named or missing), None) if last["outcome"] not in COMPLETE_OUTCOMES else None,
        allocated_bytes=sum(made.values()),
        error=last["error"],
        exit_code=exit_code,
        seconds=time.perf_counter() - started,
        how=load.how,
        usage_bytes=last.get("usage_bytes", {}),
        decode_tokens=load.decode_tokens if last.get("decode_s") is not None else 0,
        decode_s=last.get("decode_s"),
    )


def _follow(child: subprocess.Popen[str], question: Mapping[str, object]) -> tuple[dict[str, int], dict[str, Any]]:
    """Send the question; return the bytes of each tensor made, by name, and the outcome: {} if there was none."""
    assert child.stdin is not None  # both are pipes
    assert child.stdout is not None
    made: dict[str, int] = {}
    last: dict[str, Any] = {}
    with suppress(BrokenPipeError), child.stdin as to_child:  # the child may have ended
        to_child.write(json.dumps(question) + "\n")
    for line in child.stdout:
        try:
            message = json.loads(line)
        except ValueError:  # the child ended in the middle of a line
            break
        if "made" in message:
            made[message["made"]] = message["bytes"]
        else:
            last = message
    return made, last


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
