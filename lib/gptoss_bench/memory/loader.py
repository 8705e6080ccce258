"""Load a real checkpoint into a budget with transformers' own code, in a process that may die of it.

What is predicted is the loader's own order: names sorted, so that the head comes first, one tensor after the other
(its threads, which read ahead, are switched off), and MXFP4 unpacked one tensor of experts at a time.
"""

import json
import subprocess
from pathlib import Path
from typing import Any

from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.capacity import first_not_to_fit, unpacking_bytes
from gptoss_bench.memory.load_attempt import HOW, Attempt, refuse_senseless, run_child
from gptoss_client import UsageError

LOADER_HOW = {device: f"transformers' loader, {how}" for device, how in HOW.items()}


def loading_order(architecture: Architecture) -> tuple[Allocation, ...]:
    """The BF16 tensors in the order in which transformers 5 makes them: by name, numbers as numbers."""

    def key(step: Allocation) -> list[tuple[int, int, str]]:
        # A packed tensor's turn is that of its "_blocks", which sort after its "_bias".
        name = step.name + ("_blocks" if step.module == "expert weights" and architecture.quantisation else "")
        return [(0, int(part), "") if part.isdigit() else (1, 0, part) for part in name.split(".")]

    return tuple(sorted(architecture.allocations("bf16"), key=key))


def first_not_to_load(architecture: Architecture, budget_bytes: int) -> Allocation | None:
    """The tensor at which the loader overruns the budget; None where all fit, unpacking included."""
    packed = architecture.quantisation == "mxfp4"
    blocks = {step.name: step.shape for step in architecture.allocations("mxfp4")} if packed else {}
    taken = 0
    for step in loading_order(architecture):
        beside = unpacking_bytes(blocks[f"{step.name}_blocks"]) if f"{step.name}_blocks" in blocks else 0
        taken += step.bytes
        if taken + beside > budget_bytes:
            return step
    return None


def attempt_loading(
    folder: Path,
    architecture: Architecture,
    budget_bytes: int,
    dtype: str = "bf16",
    *,
    device: str = "cuda",
    timeout_s: float = 900,
) -> Attempt:
    """Load the checkpoint of `folder` with `device_map={"": 0}`, to BF16 with `Mxfp4Config(dequantize=True)`.

    With "mxfp4" nothing is asked of the loader, which may keep the experts packed or not: where it unpacked them and
    they fit even so, the outcome is "unpacked". It is "offloaded" where tensors ended on another device. `reached` is
    the first tensor, in the loader's order, that was not made on the device. On "cpu" the mapped files count against
    the address space, so the budget is raised by their size. Raises UsageError where the attempt makes no sense.
    """
    refuse_senseless(device, budget_bytes, timeout_s)
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} has no safetensors files; fetch the checkpoint, or use --device cpu without one")
    packed = architecture.quantisation == "mxfp4"
    if dtype not in ("bf16", "mxfp4") or (dtype == "mxfp4" and not packed):
        raise UsageError(
            f"the loader cannot make {dtype} of this checkpoint; choose bf16, or mxfp4 of one that is packed"
        )
    mapped = sum(file.stat().st_size for file in files) if device == "cpu" else 0
    question = {
        "folder": str(folder),
        "device": device,
        "budget_bytes": budget_bytes + mapped,
        "dequantize": packed and dtype == "bf16",
        "packed": dtype == "mxfp4",
    }
    (made, taken), answer, exit_code, seconds = run_child(
        "gptoss_bench.memory.loader_child", lambda child: _listen(child, question), timeout_s
    )
    missing = [step for step in loading_order(architecture) if step.name not in made]
    stays = first_not_to_fit(architecture.allocations("mxfp4"), budget_bytes) if dtype == "mxfp4" else None
    return Attempt(
        outcome=answer["outcome"],
        architecture=architecture.name,
        dtype=dtype,
        budget_bytes=budget_bytes,
        predicted=stays if dtype == "mxfp4" else first_not_to_load(architecture, budget_bytes),
        reached=missing[0] if missing and answer["outcome"] not in ("fits", "unpacked") else None,
        allocated_bytes=taken,
        error=answer.get("error"),
        exit_code=exit_code,
        seconds=seconds,
        how=LOADER_HOW[device],
        usage_bytes=answer.get("usage_bytes", {}),
    )


def _listen(child: subprocess.Popen[str], question: dict[str, Any]) -> tuple[tuple[set[str], int], dict[str, Any]]:
    """The names that were set on the device, their bytes, and the last answer: empty if the child is gone."""
    assert child.stdin is not None  # both were asked for as pipes
    assert child.stdout is not None
    made, taken, answer = set[str](), 0, dict[str, Any]()
    try:
        child.stdin.write(json.dumps(question) + "\n")
        child.stdin.flush()
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
