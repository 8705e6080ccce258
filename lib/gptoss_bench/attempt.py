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
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptoss_bench.architecture import Allocation, Architecture
from gptoss_bench.errors import UsageError
from gptoss_bench.memory import first_not_to_fit

HOW = {"cpu": "CPU address-space limit", "cuda": "CUDA memory fraction"}
# Mapped before the limit is set and let go at the first failure, so that the child can still say what failed.
BALLAST_BYTES = 16 * 2**20
# One thread and one arena: otherwise glibc reserves address space that the budget did not mean.
CHILD_ENVIRONMENT = {"OMP_NUM_THREADS": "1", "MALLOC_ARENA_MAX": "1"}


@dataclass(frozen=True, slots=True)
class Attempt:
    """How one attempt to load went. `reached` is the allocation under way at the end, None where all were made.

    `exit_code` is as a shell shows it: 137 is SIGKILL, which is what the kernel's out-of-memory killer sends.
    """

    outcome: str  # "out of memory", "fits", "killed" or "error"
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


def attempt(
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
    if refusal := cannot_limit(sys.platform, device):
        raise UsageError(refusal)
    if budget_bytes <= 0 or timeout_s <= 0:
        raise UsageError("the budget and the time limit of an attempt have to be above zero")
    steps = architecture.allocations(dtype)
    started = time.perf_counter()
    with tempfile.TemporaryFile() as complaints:
        child = subprocess.Popen(
            [sys.executable, "-m", "gptoss_bench.attempt"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=complaints,
            text=True,
            env=os.environ | CHILD_ENVIRONMENT,
        )
        late = threading.Event()
        with child, _ending(child, timeout_s, late):
            allocated, reached, answer = _drive(child, device, budget_bytes, steps, watch)
        complaints.seek(0)
        last_words = complaints.read().decode(errors="replace").strip().rpartition("\n")[2]
    if "usage" in answer:
        raise UsageError(answer["usage"])
    exit_code = child.returncode if child.returncode >= 0 else 128 - child.returncode
    if late.is_set():
        answer = {"outcome": "error", "error": f"stopped: no end within {timeout_s:g} s"}
    elif not answer:
        answer = {"outcome": "killed" if exit_code > 128 else "error", "error": last_words or None}
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
        seconds=time.perf_counter() - started,
        how=HOW[device],
    )


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
) -> tuple[int, Allocation | None, dict[str, Any]]:
    """Bytes allocated, the allocation that was not made, and the child's last answer: empty if it is gone."""
    allocated = 0
    answer = _ask(child, {"device": device, "budget_bytes": budget_bytes})
    if answer.get("outcome") != "fits":
        return allocated, None, answer
    for step in steps:
        if watch:
            watch(child.pid, step)
        answer = _ask(child, {"shape": step.shape, "element": step.element})
        if answer.get("outcome") != "fits":
            return allocated, step, answer
        allocated += step.bytes
    return allocated, None, answer


def _ask(child: subprocess.Popen[str], question: dict[str, Any]) -> dict[str, Any]:
    assert child.stdin is not None  # both were asked for as pipes
    assert child.stdout is not None
    try:
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
        answer: dict[str, Any] = json.loads(child.stdout.readline() or "{}")
    except OSError:
        return {}
    return answer


def _limit(device: str, budget_bytes: int) -> None:
    """In the child: from here on, allow that many bytes more. Raises UsageError where this machine cannot."""
    import torch  # the parent has no need of it

    torch.set_num_threads(1)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("torch sees no CUDA GPU on this machine; use the device cpu")
        share = budget_bytes / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), 0)
        return
    import resource  # not there on Windows

    torch.empty(1)  # whatever torch maps at first use is not the model's
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    limit, (_, hard) = mapped + budget_bytes, resource.getrlimit(resource.RLIMIT_AS)
    if hard not in (resource.RLIM_INFINITY, -1) and limit > hard:
        raise UsageError(f"a process may map {hard} bytes here and the attempt needs {limit}; raise ulimit -v")
    resource.setrlimit(resource.RLIMIT_AS, (limit, hard))


def _answer(question: dict[str, Any], made: list[Any]) -> dict[str, Any]:
    """In the child: set the limit or make one tensor, which is kept in `made`."""
    import torch  # the parent has no need of it

    try:
        if "budget_bytes" in question:
            _limit(question["device"], question["budget_bytes"])
            made.append(question["device"])
        else:
            made.append(torch.empty(question["shape"], dtype=getattr(torch, question["element"]), device=made[0]))
    except UsageError as error:
        return {"outcome": "usage", "usage": str(error)}
    except RuntimeError as error:  # torch.OutOfMemoryError is one; the CPU allocator raises the plain class
        memory = isinstance(error, torch.OutOfMemoryError) or "can't allocate memory" in str(error)
        return {"outcome": "out of memory" if memory else "error", "error": str(error).partition("\n")[0]}
    return {"outcome": "fits"}


def main() -> int:
    """The child: one question a line on stdin, one answer a line on stdout, until one of them is not "fits"."""
    ballast, made = bytearray(BALLAST_BYTES), list[Any]()
    answer = {"outcome": "fits"}
    while answer["outcome"] == "fits":
        try:
            if not (line := sys.stdin.readline()):
                return 0
            answer = _answer(json.loads(line), made)
        except MemoryError:  # Python's own allocator met the limit before torch's
            answer = {"outcome": "out of memory", "error": "MemoryError"}
        if answer["outcome"] != "fits":
            del ballast
        print(json.dumps(answer), flush=True)
    return 1


if __name__ == "__main__":
    sys.exit(main())
