"""Run transformers' loader on one device under a memory limit: the child of transformers_loader.py.

The question is one line of JSON on stdin. Each parameter that the loader has set is one line on stdout; the outcome is
the last line.
"""

import importlib
import importlib.metadata
import json
import sys
from typing import Any

from gptoss_bench.memory.memory_limit import BALLAST_BYTES, first_line, is_out_of_memory, limit_memory, memory_usage
from gptoss_client import UsageError


def main() -> int:
    """Load as asked, report the outcome, and return exit code 1 unless the model fits."""
    ballast, loading_infos = bytearray(BALLAST_BYTES), list[Any]()
    question = json.loads(sys.stdin.readline())
    sys.stdout = sys.stderr  # output of libraries must not reach the parent
    try:
        answer = _load(question, loading_infos)
    except UsageError as error:
        answer = {"outcome": "usage", "usage": str(error)}
    except Exception as error:  # the loader wraps out-of-memory errors in others
        del ballast
        out_of_memory, text = _find_cause(error, loading_infos)
        answer = {"outcome": "out of memory" if out_of_memory else "error", "error": text}
    if answer["outcome"] != "usage":
        answer["usage_bytes"] = memory_usage(question["device"])
    _report(answer)
    return 0 if answer["outcome"] == "fits" else 1


def _load(question: dict[str, Any], loading_infos: list[Any]) -> dict[str, Any]:
    """Load under the limit with all tensors on one device, and return the outcome."""
    import torch
    from transformers import AutoModelForCausalLM, modeling_utils
    from transformers.utils.quantization_config import Mxfp4Config

    device = question["device"]
    pinned: dict[str, Any] = {}
    if device == "cuda":
        try:
            importlib.metadata.version("accelerate")  # required by transformers for any device_map
        except importlib.metadata.PackageNotFoundError:
            raise UsageError("loading onto a GPU needs accelerate; pip install accelerate") from None
        pinned["device_map"] = {"": 0}
        # It would reserve the whole model at once, based on the GPU's total and not on the allowed share.
        modeling_utils.caching_allocator_warmup = lambda *_, **__: None
    if question["dequantize"]:
        pinned["quantization_config"] = Mxfp4Config(dequantize=True)
    importlib.import_module("transformers.models.gpt_oss.modeling_gpt_oss")  # code is not part of the budget
    _watch_loader(device, loading_infos)
    limit_memory(device, question["budget_bytes"])
    model = AutoModelForCausalLM.from_pretrained(question["folder"], dtype=torch.bfloat16, **pinned)
    away = [name for name, tensor in model.named_parameters() if tensor.device.type != device]
    if away:
        return {"outcome": "offloaded", "error": f"{len(away)} tensors are not on {device}; the first is {away[0]}"}
    experts = [tensor for name, tensor in model.named_parameters() if name.endswith(("gate_up_proj", "down_proj"))]
    if question["packed"] and any(tensor.is_floating_point() for tensor in experts):
        return {"outcome": "unpacked", "error": "the loader unpacked MXFP4 to BF16, with only a warning"}
    return {"outcome": "fits"}


def _report(answer: dict[str, Any]) -> None:
    print(json.dumps(answer), file=sys.__stdout__, flush=True)


def _watch_loader(device: str, loading_infos: list[Any]) -> None:
    """Report each parameter that the loader sets, and store the loader's own record in `loading_infos`.

    Raises UsageError if this version of transformers has no such function.
    """
    from transformers import core_model_loading

    if not hasattr(core_model_loading, "set_param_for_module"):
        version = importlib.metadata.version("transformers")
        raise UsageError(f"transformers {version} has another loader; use 5.15 to 5.24")
    original = core_model_loading.set_param_for_module

    def watched(model: Any, target_name: str, param_value: Any, loading_info: Any, *rest: Any, **named: Any) -> Any:
        loading_infos[:] = [loading_info]
        result = original(model, target_name, param_value, loading_info, *rest, **named)
        _report({"set": target_name, "elsewhere": param_value.device.type != device, "bytes": param_value.nbytes})
        return result

    core_model_loading.set_param_for_module = watched


def _find_cause(error: Exception, loading_infos: list[Any]) -> tuple[bool, str]:
    """Return whether memory ran out, and the line of the messages that shows it.

    The loader records an error in unpacking, continues with the next tensor, and raises another error at the end.
    """
    recorded = [text for info in loading_infos for text in getattr(info, "conversion_errors", {}).values()]
    lines = [line.strip() for text in (str(error), *recorded) for line in str(text).splitlines()]
    shortages = [line for line in lines if is_out_of_memory(RuntimeError(line))]
    return (True, shortages[0]) if shortages else (is_out_of_memory(error), first_line(error))


if __name__ == "__main__":
    sys.exit(main())
