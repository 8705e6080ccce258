"""Allocate the tensors asked for, one after the other, under a memory limit: the child of tensor_allocation.py."""

import sys
from typing import Any

from gptoss_bench.memory.attempt_child import Outcome, answer_parent, limit_memory, report_tensor


def allocate(question: dict[str, Any]) -> Outcome:
    """Set the limit and make each tensor of `question["tensors"]`: (name, shape, dtype of torch)."""
    import torch  # the parent process does not need it

    device, kept = question["device"], []
    limit_memory(device, question["budget_bytes"])
    for name, shape, element in question["tensors"]:
        kept.append(torch.empty(shape, dtype=getattr(torch, element), device=device))
        report_tensor(name, kept[-1].nbytes)
    return Outcome("fits")


if __name__ == "__main__":
    sys.exit(answer_parent(allocate))
