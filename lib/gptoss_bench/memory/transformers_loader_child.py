"""Run transformers' loader on one device under a memory limit: the child of transformers_loader.py."""

import importlib
import importlib.metadata
import os
import sys
import time
from typing import Any

from gptoss_bench.memory.attempt_child import (
    Outcome,
    answer_parent,
    is_out_of_memory,
    limit_memory,
    memory_usage,
    report_outcome,
    report_tensor,
)
from gptoss_client import UsageError

PROMPT_TOKENS, WARMUP_TOKENS = 64, 4
LOADING_INFOS: list[Any] = []  # the loader's own record of the load


def load(question: dict[str, Any]) -> Outcome:
    """Load under the limit with all tensors on one device, and return how it ended."""
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
        if not question["as_called"]:
            # It would reserve the whole model at once, based on the GPU's total and not on the allowed share.
            modeling_utils.caching_allocator_warmup = lambda *_, **__: None
    if question["dequantize"]:
        pinned["quantization_config"] = Mxfp4Config(dequantize=True)
    importlib.import_module("transformers.models.gpt_oss.modeling_gpt_oss")  # code is not part of the budget
    _watch_loader(device, stop=not question["as_called"])
    limit_memory(device, question["budget_bytes"])
    model = AutoModelForCausalLM.from_pretrained(question["folder"], dtype=torch.bfloat16, **pinned)
    away = [name for name, tensor in model.named_parameters() if tensor.device.type != device]
    if away:
        return Outcome("offloaded", f"{len(away)} tensors are not on {device}; the first is {away[0]}", away[0])
    experts = [tensor for name, tensor in model.named_parameters() if name.endswith(("gate_up_proj", "down_proj"))]
    if question["packed"] and any(tensor.is_floating_point() for tensor in experts):
        return Outcome("unpacked", "the loader unpacked MXFP4 to BF16, with only a warning")
    return Outcome("fits", decode_s=_decode(model, question["decode_tokens"]) if question["decode_tokens"] else None)


def _decode(model: Any, tokens: int) -> float:
    """Return the seconds of decoding so many tokens after a short prompt; a first pass warms up."""
    import torch

    prompt = torch.arange(PROMPT_TOKENS, device=model.device)[None] % model.config.vocab_size
    taken_s = 0.0
    for count in (WARMUP_TOKENS, tokens):
        started = time.perf_counter()
        made = model.generate(
            prompt, attention_mask=torch.ones_like(prompt), min_new_tokens=count, max_new_tokens=count, do_sample=False
        )
        made.cpu()  # waits for the device
        taken_s = time.perf_counter() - started
    return taken_s


def _watch_loader(device: str, *, stop: bool) -> None:
    """Report each parameter that the loader sets on the device; `stop`: end the process at the first one elsewhere.

    Raises UsageError if this version of transformers has no such function.
    """
    from transformers import core_model_loading

    if not hasattr(core_model_loading, "set_param_for_module"):
        version = importlib.metadata.version("transformers")
        raise UsageError(f"transformers {version} has another loader; use 5.15 to 5.24")
    original = core_model_loading.set_param_for_module

    def watched(model: Any, target_name: str, param_value: Any, loading_info: Any, *rest: Any, **named: Any) -> Any:
        LOADING_INFOS[:] = [loading_info]
        if param_value.device.type != device and not stop:
            return original(model, target_name, param_value, loading_info, *rest, **named)
        if param_value.device.type != device:
            report_outcome(_placed_elsewhere(target_name, param_value.device.type, device), device)
            os._exit(1)  # the loader would go on for minutes, and catches exceptions
        result = original(model, target_name, param_value, loading_info, *rest, **named)
        report_tensor(target_name, param_value.nbytes)
        return result

    core_model_loading.set_param_for_module = watched


def _placed_elsewhere(name: str, place: str, device: str) -> Outcome:
    """Tell memory that ran out from a placement for another reason.

    `convert_moe_packed_tensors` of transformers catches torch.OutOfMemoryError and unpacks on the CPU instead.
    """
    if failed := memory_usage(device).get("num_ooms", 0):
        why = f"memory ran out on {device} (num_ooms {failed}) and transformers went on unpacking on the CPU"
        return Outcome("out of memory", f"{why}: {name} is on {place}", name)
    return Outcome("offloaded", f"the loader put {name} on {place}, not on {device}", name)


def find_cause(error: Exception) -> Exception:
    """Return the memory error that the loader recorded, else `error`.

    The loader records an error in unpacking, continues with the next tensor, and raises another error at the end.
    """
    recorded = [text for info in LOADING_INFOS for text in getattr(info, "conversion_errors", {}).values()]
    lines = [line.strip() for text in (str(error), *recorded) for line in str(text).splitlines()]
    return next((cause for cause in map(RuntimeError, lines) if is_out_of_memory(cause)), error)


if __name__ == "__main__":
    sys.exit(answer_parent(load, find_cause))
