"""Limit the memory of the running process, report its use, and recognise an error caused by the limit."""

from pathlib import Path

from gptoss_client import UsageError

# Mapped before the limit is set and freed at the first failure, so that the process can still report the failure.
BALLAST_BYTES = 16 * 2**20
ALLOCATOR_COUNTS = ("allocated_bytes.all.peak", "reserved_bytes.all.peak", "num_alloc_retries", "num_ooms")
OUT_OF_MEMORY_TEXTS = ("can't allocate memory", "Cannot allocate memory", "OutOfMemoryError", "out of memory")


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
    """Return the first line of an error's message."""
    return str(error).partition("\n")[0]
