"""Allocate one tensor after the other as asked, under a memory limit: the child of tensor_allocation.py.

Each line of stdin is a question in JSON, each line of stdout its answer.
"""

import json
import sys
from typing import Any

from gptoss_bench.memory.memory_limit import BALLAST_BYTES, first_line, is_out_of_memory, limit_memory, memory_usage
from gptoss_client import UsageError


def main() -> int:
    """Answer until an answer is not "fits" or stdin ends."""
    ballast, kept = bytearray(BALLAST_BYTES), list[Any]()
    answer: dict[str, Any] = {"outcome": "fits"}
    while answer["outcome"] == "fits":
        try:
            if not (line := sys.stdin.readline()):
                return 0
            answer = _answer(json.loads(line), kept)
        except MemoryError:  # Python's allocator reached the limit before torch's
            answer = {"outcome": "out of memory", "error": "MemoryError"}
        if answer["outcome"] != "fits":
            del ballast
        print(json.dumps(answer), flush=True)
    return 1


def _answer(question: dict[str, Any], kept: list[Any]) -> dict[str, Any]:
    """Set the limit, make one tensor or report the memory used; `kept` holds the device, then the tensors."""
    import torch  # the parent process does not need it

    try:
        if "usage" in question:
            return {"outcome": "fits", "usage_bytes": memory_usage(kept[0])}
        if "budget_bytes" in question:
            limit_memory(question["device"], question["budget_bytes"])
            kept.append(question["device"])
        else:
            kept.append(torch.empty(question["shape"], dtype=getattr(torch, question["element"]), device=kept[0]))
    except UsageError as error:
        return {"outcome": "usage", "usage": str(error)}
    except RuntimeError as error:  # the base class of torch.OutOfMemoryError
        usage = {"usage_bytes": memory_usage(kept[0])} if kept else {}
        return {"outcome": "out of memory" if is_out_of_memory(error) else "error", "error": first_line(error), **usage}
    return {"outcome": "fits"}


if __name__ == "__main__":
    sys.exit(main())
