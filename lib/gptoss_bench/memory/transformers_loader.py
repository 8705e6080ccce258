"""Load a checkpoint with transformers' own code under a memory limit, and return where it ended.

The prediction follows the loader's order: names sorted, so that the head comes first, one tensor after the other
(its threads, which read ahead, are switched off), and MXFP4 unpacked one tensor of experts at a time.
"""

from pathlib import Path

from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.attempt import LIMIT_BY_DEVICE, Attempt, Load, check_request, run_load
from gptoss_bench.memory.capacity import first_not_to_fit, unpacking_bytes
from gptoss_client import UsageError

CHILD = "gptoss_bench.memory.transformers_loader_child"
MAX_DECODE_TOKENS = 4096
LOADER_LIMIT_BY_DEVICE = {device: f"transformers' loader, {how}" for device, how in LIMIT_BY_DEVICE.items()}


def loading_order(architecture: Architecture) -> tuple[Allocation, ...]:
    """Return the BF16 tensors in the order in which transformers 5 makes them: by name, numbers as numbers."""

    def key(step: Allocation) -> list[tuple[int, int, str]]:
        # A packed tensor is made when the loader reaches its "_blocks", which sort after its "_bias".
        name = step.name + (
            "_blocks" if step.module == "expert weights" and architecture.quantisation == "mxfp4" else ""
        )
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
    as_called: bool = False,
    decode_tokens: int = 0,
) -> Attempt:
    """Load the checkpoint in `folder` in a child process, all of it on one device.

    The load ends at the first tensor that is on another device. The outcome is then "out of memory" if CUDA's allocator
    failed before, because transformers unpacks on the CPU what it cannot unpack on the GPU; otherwise "offloaded".
    `reached` is the first tensor, in the loader's order, that was not made on the device.

    Args:
        folder: of the checkpoint.
        architecture: of its config.json.
        budget_bytes: on "cuda" a share of the first GPU; on "cpu" address space, raised by the size of the mapped
            files, which count too.
        dtype: "bf16" unpacks MXFP4 by `Mxfp4Config(dequantize=True)`. "mxfp4" leaves the decision to the loader; if it
            unpacks the experts and they fit, the outcome is "unpacked".
        device: "cuda", by `device_map={"": 0}`, or "cpu".
        timeout_s: the child is killed after this time.
        as_called: change nothing in the loader: on "cuda" it first reserves the whole model at once, and it goes on
            where it unpacks on the CPU. This is what a user meets.
        decode_tokens: if the load fits, decode so many tokens and time them.

    Raises:
        UsageError: no safetensors files, or an impossible budget, dtype, device or time limit.
    """
    check_request(device, budget_bytes, timeout_s)
    if not 0 <= decode_tokens <= MAX_DECODE_TOKENS:
        raise UsageError(f"{decode_tokens} tokens cannot be decoded; choose 0 to {MAX_DECODE_TOKENS}")
    files = list(folder.glob("*.safetensors"))
    if not files:
        raise UsageError(f"{folder} has no safetensors files; download the checkpoint, or use --device cpu without one")
    packed = architecture.quantisation == "mxfp4"
    if dtype not in ("bf16", "mxfp4") or (dtype == "mxfp4" and not packed):
        raise UsageError(f"the loader cannot make {dtype} from this checkpoint; choose bf16, or mxfp4 if it is packed")
    mapped = sum(file.stat().st_size for file in files) if device == "cpu" else 0
    if dtype == "mxfp4":
        predicted = first_not_to_fit(architecture.allocations("mxfp4"), budget_bytes)
    else:
        predicted = first_not_to_load(architecture, budget_bytes)
    if as_called and device == "cuda" and predicted:
        predicted = loading_order(architecture)[0]
    load = Load(
        architecture=architecture.name,
        dtype=dtype,
        budget_bytes=budget_bytes,
        module=CHILD,
        question={
            "folder": str(folder),
            "device": device,
            "budget_bytes": budget_bytes + mapped,
            "dequantize": packed and dtype == "bf16",
            "packed": dtype == "mxfp4",
            "as_called": as_called,
            "decode_tokens": decode_tokens,
        },
        steps=loading_order(architecture),
        predicted=predicted,
        how=LOADER_LIMIT_BY_DEVICE[device] + (", as called" if as_called else ""),
        decode_tokens=decode_tokens,
    )
    return run_load(load, timeout_s)
