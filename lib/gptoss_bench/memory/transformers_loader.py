"""Load a checkpoint with transformers' own code under a memory limit, and return where it ended.

The prediction follows the loader's order: names sorted, so that the head comes first, one tensor after the other
(its threads, which read ahead, are switched off), and MXFP4 unpacked one tensor of experts at a time.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.attempt import LIMIT_BY_DEVICE, Attempt, check_request, run_child, send_question
from gptoss_bench.memory.capacity import first_not_to_fit, unpacking_bytes
from gptoss_client import UsageError

LOADER_LIMIT_BY_DEVICE = {device: f"transformers' loader, {how}" for device, how in LIMIT_BY_DEVICE.items()}


def loading_order(architecture: Architecture) -> tuple[Allocation, ...]:
    """Return the BF16 tensors in the order in which transformers 5 makes them: by name, numbers as numbers."""

    def key(step: Allocation) -> list[tuple[int, int, str]]:
        # A packed tensor is made when the loader reaches its "_blocks", which sort after its "_bias".
        name = step.name + ("_blocks" if step.module == "expert weights" and architecture.quantisation else "")
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]

    return tuple(sorted(architecture.allocations("bf16"), key=key))


def first_not_to_load(architecture: Architecture, budget_bytes: int) -> Allocation | None:
    """Return the tensor at which the loader exceeds the budget; None if all fit, unpacking included."""
    packed = architecture.quantisation == "mxfp4"
    blocks = {step.name: step.shape for step in architecture.allocations("mxfp4")} if packed else {}
    taken = 0
    for step in loading_order(architecture):
        unpacking = unpacking_bytes(blocks[f"{step.name}_blocks"]) if f"{step.name}_blocks" in blocks else 0
        taken += step.bytes
        if taken + unpacking > budget_bytes:
            return step
    return None


def attempt_checkpoint_load(
    folder: Path,
    architecture: Architecture,
    budget_bytes: int,
    dtype: str = "bf16",
    *,
    device: str = "cuda",
    timeout_s: float = 900,
) -> Attempt:
    """Load the checkpoint in `folder` in a child process, all of it on one device.

    The outcome is "offloaded" if tensors are on another device after loading. `reached` is the first tensor, in the
    loader's order, that was not made on the device.

    Args:
        folder: of the checkpoint.
        architecture: of its config.json.
        budget_bytes: on "cuda" a share of the first GPU; on "cpu" address space, raised by the size of the mapped
            files, which count too.
        dtype: "bf16" unpacks MXFP4 by `Mxfp4Config(dequantize=True)`. "mxfp4" leaves the decision to the loader; if it
            unpacks the experts and they fit, the outcome is "unpacked".
        device: "cuda", by `device_map={"": 0}`, or "cpu".
        timeout_s: the child is killed after this time.

    Raises:
        UsageError: no safetensors files, or an impossible budget, dtype, device or time limit.
    """
    check_request(device, budget_bytes, timeout_s)
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} has no safetensors files; download the checkpoint, or use --device cpu without one")
    packed = architecture.quantisation == "mxfp4"
    if dtype not in ("bf16", "mxfp4") or (dtype == "mxfp4" and not packed):
        raise UsageError(f"the loader cannot make {dtype} from this checkpoint; choose bf16, or mxfp4 if it is packed")
    mapped = sum(file.stat().st_size for file in files) if device == "cpu" else 0
    question = {
        "folder": str(folder),
        "device": device,
        "budget_bytes": budget_bytes + mapped,
        "dequantize": packed and dtype == "bf16",
        "packed": dtype == "mxfp4",
    }
    (made, taken), answer, exit_code, seconds = run_child(
        "gptoss_bench.memory.transformers_loader_child", lambda child: _follow(child, question), timeout_s
    )
    missing = [step for step in loading_order(architecture) if step.name not in made]
    if dtype == "mxfp4":
        predicted = first_not_to_fit(architecture.allocations("mxfp4"), budget_bytes)
    else:
        predicted = first_not_to_load(architecture, budget_bytes)
    return Attempt(
        outcome=answer["outcome"],
        architecture=architecture.name,
        dtype=dtype,
        budget_bytes=budget_bytes,
        predicted=predicted,
        reached=missing[0] if missing and answer["outcome"] not in ("fits", "unpacked") else None,
        allocated_bytes=taken,
        error=answer.get("error"),
        exit_code=exit_code,
        seconds=seconds,
        how=LOADER_LIMIT_BY_DEVICE[device],
        usage_bytes=answer.get("usage_bytes", {}),
    )


def _follow(child: subprocess.Popen[str], question: dict[str, Any]) -> tuple[tuple[set[str], int], dict[str, Any]]:
    """Return the names set on the device, their bytes, and the last answer: {} if the child has ended."""
    assert child.stdout is not None  # run_child opened a pipe
    made, taken, answer = set[str](), 0, dict[str, Any]()
    try:
        send_question(child, question)
        for line in child.stdout:
            reported = json.loads(line)
            if "set" not in reported:
                answer = reported
            elif not reported["elsewhere"]:
                made.add(reported["set"])
                taken += reported["bytes"]
    except (OSError, ValueError):
        return (made, taken), {}
    return (made, taken), answer
