"""Child side of an attempt: limit the memory of the running process, answer the parent, and name what ended the load.

The question is one line of JSON on stdin. Each tensor that was made is one line on stdout, and the outcome is the last.
"""

import json
import sys
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from gptoss_client import UsageError

# Mapped before the limit is set and freed at the first failure, so that the process can still report the failure.
BALLAST_BYTES = 16 * 2**20
ALLOCATOR_COUNTS = ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_alloc_retries", "num_ooms")
OUT_OF_MEMORY_TEXTS = ("can't allocate memory", "Cannot allocate memory", "OutOfMemoryError", "out of memory")


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a load ended, seen from inside the child."""

    outcome: str
    error: str | None = None
    at: str | None = None  # name of the tensor at which it ended; None: the first one that was not made
    decode_s: float | None = None  # time of the tokens that were asked for, after a warm-up


def answer_parent(
    load: Callable[[dict[str, Any]], Outcome],
    find_cause: Callable[[Exception], Exception] = lambda error: error,
) -> int:
    """Read the question, load as asked, and report how it ended; return 0 if it fits or there is no question, else 1.

    `load` sets the limit itself, after its imports. `find_cause` gets the error that `load` raised and returns the one
    to report.
    """
    ballast = bytearray(BALLAST_BYTES)
    if not (line := sys.stdin.readline()):
        return 0
    question = json.loads(line)
    sys.stdout = sys.stderr  # output of libraries must not reach the parent
    try:
        outcome = load(question)
    except UsageError as error:
        _send({"usage": str(error)})
        return 1
    except Exception as error:
        del ballast
        cause = find_cause(error)
        outcome = Outcome("out of memory" if is_out_of_memory(cause) else "error", first_line(cause))
    report_outcome(outcome, question["device"])
    return 0 if outcome.outcome == "fits" else 1


def report_tensor(name: str, size_bytes: int) -> None:
    """Tell the parent that a tensor was made on the device."""
    _send({"made": name, "bytes": size_bytes})


def report_outcome(outcome: Outcome, device: str) -> None:
    """Tell the parent how the load ended, and what it used."""
    _send(asdict(outcome) | {"usage_bytes": memory_usage(device)})


def _send(message: Mapping[str, object]) -> None:
    print(json.dumps(message), file=sys.__stdout__, flush=True)


def limit_memory(device: str, budget_bytes: int) -> None:
    """Allow this process `budget_bytes` more than it uses now. Raises UsageError if this machine cannot."""
    import torch  # the parent process does not need it

    torch.set_num_threads(1)
    if device == "cuda":
        if not torch.cuda.is_available():
            raise UsageError("torch sees no CUDA GPU on this machine; use the device cpu")
        share = budget_bytes / torch.cuda.get_device_properties(0).total_memory
        torch.cuda.set_per_process_memory_fraction(min(share, 1.0), 0)
        return
    import resource  # missing on Windows

    torch.empty(1)  # what torch maps at its first allocation is not part of the budget
    mapped = int(Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    most, (_, hard) = mapped + budget_bytes, resource.getrlimit(resource.RLIMIT_AS)
    if hard not in (resource.RLIM_INFINITY, -1) and most > hard:
        raise UsageError(f"a process may map {hard} bytes here and the attempt needs {most}; raise ulimit -v")
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an error means that memory ran out: of Python, or of torch on a GPU or on the CPU."""
    text = f"{type(error).__name__}: {error}"
    return isinstance(error, MemoryError) or any(each in text for each in OUT_OF_MEMORY_TEXTS)


def memory_usage(device: str) -> dict[str, int]:
    """Return the CUDA allocator's counts, or the peak address space and peak resident memory of this process."""
    if device == "cuda":
        import torch

        counts = torch.cuda.memory_stats(0)
        return {name: int(counts[name]) for name in ALLOCATOR_COUNTS if name in counts}
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return {"address_space_peak_bytes": kib["VmPeak"] * 1024, "resident_peak_bytes": kib["VmHWM"] * 1024}


def first_line(error: BaseException) -> str:
    """Return the first line of an error's message; the name of its type if it has none."""
    return str(error).partition("\n")[0] or type(error).__name__
