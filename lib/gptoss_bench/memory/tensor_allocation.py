"""Allocate the tensors of an architecture one by one under a memory limit, without files, and return where it ended."""

from gptoss_bench.memory.architecture import Architecture
from gptoss_bench.memory.attempt import LIMIT_BY_DEVICE, Attempt, Load, check_request, run_load
from gptoss_bench.memory.capacity import first_not_to_fit

CHILD = "gptoss_bench.memory.tensor_allocation_child"


def attempt_allocation(
    architecture: Architecture, budget_bytes: int, dtype: str = "bf16", *, device: str = "cpu", timeout_s: float = 120
) -> Attempt:
    """Allocate the weights tensor by tensor in a child process that may use `budget_bytes` for them.

    On "cpu" the address space is limited (Linux only): the tensors have their real shapes but are never written to, so
    they use hardly any memory. On "cuda" the limit is a fraction of the first GPU's memory. Raises UsageError for an
    impossible budget, dtype, device or time limit.
    """
    check_request(device, budget_bytes, timeout_s)
    steps = architecture.allocations(dtype)
    tensors = [(step.name, step.shape, step.element) for step in steps]
    load = Load(
        architecture=architecture.name,
        dtype=dtype,
        budget_bytes=budget_bytes,
        module=CHILD,
        question={"device": device, "budget_bytes": budget_bytes, "tensors": tensors},
        steps=steps,
        predicted=first_not_to_fit(steps, budget_bytes),
        how=LIMIT_BY_DEVICE[device],
    )
    return run_load(load, timeout_s)
