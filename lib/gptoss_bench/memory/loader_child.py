"""The child of a real loading: transformers' own loader on a checkpoint, pinned to one device, under a limit.

The question comes as one line of JSON on stdin; each parameter that the loader has set is one line on stdout, the
outcome is the last. loading.py is the parent.
"""

import importlib
import importlib.metadata
import json
import sys
from typing import Any

from gptoss_bench.memory.load_attempt_child import BALLAST_BYTES, first_line, limit, ran_out, usage
from gptoss_client import UsageError


def tell(answer: dict[str, Any]) -> None:
    """One line to the parent."""
    print(json.dumps(answer), file=sys.__stdout__, flush=True)


def watch_loader(device: str, notes: list[Any]) -> None:
    """Tell of each parameter as the loader sets it; its own notes on the loading go into `notes`.

    Raises UsageError where the loader has no such place any more.
    """
    from transformers import core_model_loading

    if not hasattr(core_model_loading, "set_param_for_module"):
        version = importlib.metadata.version("transformers")
        raise UsageError(f"transformers {version} loads in a way that is not known here; use 5.15 to 5.24")
    original = core_model_loading.set_param_for_module

    def watched(model: Any, target_name: str, param_value: Any, loading_info: Any, *rest: Any, **named: Any) -> Any:
        notes[:] = [loading_info]
        result = original(model, target_name, param_value, loading_info, *rest, **named)
        tell({"set": target_name, "elsewhere": param_value.device.type != device, "bytes": param_value.nbytes})
        return result

    core_model_loading.set_param_for_module = watched


def cause(error: Exception, notes: list[Any]) -> tuple[bool, str]:
    """Whether memory ran out, and the first line that says so.

    The loader notes an error in unpacking, goes on to the next tensor, and raises one of its own in the end.
    """
    noted = [text for info in notes for text in getattr(info, "conversion_errors", {}).values()]
    lines = [line.strip() for text in (str(error), *noted) for line in str(text).splitlines()]
    memory = [line for line in lines if ran_out(RuntimeError(line))]
    return (True, memory[0]) if memory else (ran_out(error), first_line(error))


def load(question: dict[str, Any], notes: list[Any]) -> dict[str, Any]:
    """Load under the limit and say how it went; everything goes to one device or the attempt does not count."""
    import torch
    from transformers import AutoModelForCausalLM, modeling_utils
    from transformers.utils.quantization_config import Mxfp4Config

    device = question["device"]
    pinned: dict[str, Any] = {}
    if device == "cuda":
        try:
            importlib.metadata.version("accelerate")  # transformers needs it for any device_map
        except importlib.metadata.PackageNotFoundError:
            raise UsageError("loading onto a GPU needs accelerate; pip install accelerate") from None
        pinned["device_map"] = {"": 0}
        # It would reserve the whole model at once, by the card's total and not by the share that is allowed here.
        modeling_utils.caching_allocator_warmup = lambda *_, **__: None
    if question["dequantize"]:
        pinned["quantization_config"] = Mxfp4Config(dequantize=True)
    importlib.import_module("transformers.models.gpt_oss.modeling_gpt_oss")  # before the limit: code is no weight
    watch_loader(device, notes)
    limit(device, question["budget_bytes"])
    model = AutoModelForCausalLM.from_pretrained(question["folder"], dtype=torch.bfloat16, **pinned)
    away = [name for name, tensor in model.named_parameters() if tensor.device.type != device]
    if away:
        return {"outcome": "offloaded", "error": f"{len(away)} tensors are not on {device}, {away[0]} the first"}
    experts = [tensor for name, tensor in model.named_parameters() if name.endswith(("gate_up_proj", "down_proj"))]
    if question["packed"] and any(tensor.is_floating_point() for tensor in experts):
        return {"outcome": "unpacked", "error": "the loader unpacked MXFP4 to BF16 with no more than a warning"}
    return {"outcome": "fits"}


def main() -> int:
    """Load as asked, tell the outcome, and exit with 1 where it does not fit."""
    ballast, notes = bytearray(BALLAST_BYTES), list[Any]()
    question = json.loads(sys.stdin.readline())
    sys.stdout = sys.stderr  # whatever a library prints is not for the parent
    try:
        answer = load(question, notes)
    except UsageError as error:
        answer = {"outcome": "usage", "usage": str(error)}
    except Exception as error:  # the loader wraps an error of memory in others
        del ballast
        memory, words = cause(error, notes)
        answer = {"outcome": "out of memory" if memory else "error", "error": words}
    if answer["outcome"] != "usage":
        answer["usage_bytes"] = usage(question["device"])
    tell(answer)
    return 0 if answer["outcome"] == "fits" else 1


if __name__ == "__main__":
    sys.exit(main())
