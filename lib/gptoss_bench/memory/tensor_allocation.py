"""Allocate the tensors of an architecture one by one under a memory limit, without files, and return where it ended.

Parent and child alternate over two pipes: the parent names one tensor, the child allocates it and answers. So the
parent knows the current tensor however the child ends, and a child whose parent is gone stops by itself.
"""

import json
import subprocess
from typing import Any

from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.attempt import LIMIT_BY_DEVICE, Attempt, check_request, run_child, send_question
from gptoss_bench.memory.capacity import first_not_to_fit


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
    (allocated, reached), answer, exit_code, seconds = run_child(
        "gptoss_bench.memory.tensor_allocation_child",
        lambda child: _allocate(child, device, budget_bytes, steps),
        timeout_s,
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
        how=LIMIT_BY_DEVICE[device],
        usage_bytes=answer.get("usage_bytes", {}),
    )


def _allocate(
    child: subprocess.Popen[str], device: str, budget_bytes: int, steps: tuple[Allocation, ...]
) -> tuple[tuple[int, Allocation | None], dict[str, Any]]:
    """Return the allocated bytes, the allocation that was not made, and the last answer: {} if the child has ended."""
    allocated = 0
    answer = _ask(child, {"device": device, "budget_bytes": budget_bytes})
    if answer.get("outcome") != "fits":
        return (allocated, None), answer
    for step in steps:
        answer = _ask(child, {"shape": step.shape, "element": step.element})
        if answer.get("outcome") != "fits":
            return (allocated, step), answer
        allocated += step.bytes
    return (allocated, None), _ask(child, {"usage": True})


def _ask(child: subprocess.Popen[str], question: dict[str, Any]) -> dict[str, Any]:
    assert child.stdout is not None  # run_child opened a pipe
    try:
        send_question(child, question)
        answer: dict[str, Any] = json.loads(child.stdout.readline() or "{}")
    except (OSError, ValueError):  # the child has ended, perhaps in the middle of a line
        return {}
    return answer
