"""The child of an attempt: under a limit, make one tensor after the other as asked, until one does not go.

One question a line on stdin, one answer a line on stdout. attempt.py is the parent.
"""

import json
import sys
from pathlib import Path
from typing import Any

from gptoss_client import UsageError

# Mapped before the limit is set and let go at the first failure, so that the child can still say what failed.
BALLAST_BYTES = 16 * 2**20
ALLOCATOR = ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_alloc_retries", "num_ooms")


def limit(device: str, budget_bytes: int) -> None:
    """From here on, allow this process that many bytes more. Raises UsageError where this machine cannot."""
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
    most, (_, hard) = mapped + budget_bytes, resource.getrlimit(resource.RLIMIT_AS)
    if hard not in (resource.RLIM_INFINITY, -1) and most > hard:
        raise UsageError(f"a process may map {hard} bytes here and the attempt needs {most}; raise ulimit -v")
    resource.setrlimit(resource.RLIMIT_AS, (most, hard))


def ran_out(error: BaseException) -> bool:
    """Whether an error is one of memory: torch's own on a GPU, the plain class of its CPU allocator, Python's."""
    words = ("can't allocate memory", "Cannot allocate memory", "OutOfMemoryError", "out of memory")
    return isinstance(error, MemoryError) or any(each in f"{type(error).__name__}: {error}" for each in words)


def usage(device: str) -> dict[str, int]:
    """What this process took: the CUDA allocator's own counts, or peak address space and peak resident memory."""
    if device == "cuda":
        import torch

        counts = torch.cuda.memory_stats(0)
        return {name: int(counts[name]) for name in ALLOCATOR if name in counts}
    lines = Path("/proc/self/status").read_text().splitlines()
    kib = {name: int(rest.split()[0]) for name, _, rest in (line.partition(":") for line in lines) if "kB" in rest}
    return {"address_space_peak_bytes": kib["VmPeak"] * 1024, "resident_peak_bytes": kib["VmHWM"] * 1024}


def _answer(question: dict[str, Any], made: list[Any]) -> dict[str, Any]:
    """Set the limit, make one tensor, which is kept in `made`, or say what was used."""
    import torch  # the parent has no need of it

    try:
        if "usage" in question:
            return {"outcome": "fits", "usage_bytes": usage(made[0])}
        if "budget_bytes" in question:
            limit(question["device"], question["budget_bytes"])
            made.append(question["device"])
        else:
            made.append(torch.empty(question["shape"], dtype=getattr(torch, question["element"]), device=made[0]))
    except UsageError as error:
        return {"outcome": "usage", "usage": str(error)}
    except RuntimeError as error:  # torch.OutOfMemoryError is one
        kept = {"usage_bytes": usage(made[0])} if made else {}
        return {"outcome": "out of memory" if ran_out(error) else "error", "error": first_line(error), **kept}
    return {"outcome": "fits"}


def first_line(error: BaseException) -> str:
    """An error's own first line."""
    return str(error).partition("\n")[0]


def main() -> int:
    """Answer until one answer is not "fits" or nobody asks any more."""
    ballast, made = bytearray(BALLAST_BYTES), list[Any]()
    answer: dict[str, Any] = {"outcome": "fits"}
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
