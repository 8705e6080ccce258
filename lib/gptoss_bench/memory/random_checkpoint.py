"""Write a checkpoint with the names, shapes and dtypes of a real model and random weights, to test a loader.

It is written as a stream, one safetensors file per stage of the model, so that only the disk limits its size.
"""

import json
import struct
from collections.abc import Iterator
from itertools import groupby
from math import prod
from pathlib import Path

import numpy as np

from gptoss_bench.files import writing
from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.dtypes import ELEMENT_BYTES, SAFETENSORS_NAMES
from gptoss_client import UsageError

PATTERN_BYTES = 4 * 2**20
# The modules that the published checkpoints keep in BF16, as listed in their config.json.
UNQUANTISED_MODULES = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
SCALE_RANGE = (118, 124)  # exponents 2^-9 to 2^-4: the order of magnitude of trained weights


def write_random_checkpoint(architecture: Architecture, folder: Path, dtype: str = "mxfp4", *, seed: int = 0) -> int:
    """Write config.json, the safetensors files and their index; return the bytes of all weights.

    `dtype` is "mxfp4", "bf16" or "fp32". Raises UsageError for another dtype, or if the folder cannot be written.
    """
    if dtype not in ("mxfp4", "bf16", "fp32"):
        raise UsageError(f"cannot write a checkpoint in {dtype!r}; choose mxfp4, bf16 or fp32")
    steps = architecture.allocations(dtype)
    stages = [list(group) for _, group in groupby(steps, key=lambda step: step.stage)]
    files = [f"model-{number:05}-of-{len(stages):05}.safetensors" for number in range(1, len(stages) + 1)]
    draw = np.random.default_rng(seed)
    with writing(folder, "free space or choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        for file, stage in zip(files, stages, strict=True):
            _write(folder / file, stage, draw)
        total = sum(step.bytes for step in steps)
        places = {step.name: file for file, stage in zip(files, stages, strict=True) for step in stage}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        (folder / "config.json").write_text(json.dumps(_config(architecture, dtype), indent=1))
    return total


def _config(architecture: Architecture, dtype: str) -> dict[str, object]:
    config: dict[str, object] = {"model_type": "gpt_oss", "architectures": ["GptOssForCausalLM"]}
    config |= architecture.config_fields()
    if dtype == "mxfp4":
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": UNQUANTISED_MODULES}
    return config | {"dtype": "float32" if dtype == "fp32" else "bfloat16"}


def _write(path: Path, tensors: list[Allocation], draw: np.random.Generator) -> None:
    header, at = {}, 0
    for tensor in tensors:
        entry = {
            "dtype": SAFETENSORS_NAMES[tensor.element],
            "shape": tensor.shape,
            "data_offsets": (at, at + tensor.bytes),
        }
        header[tensor.name], at = entry, at + tensor.bytes
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for tensor in tensors:
            for piece in _pieces(tensor, draw):
                file.write(piece)


def _pieces(tensor: Allocation, draw: np.random.Generator) -> Iterator[bytes]:
    """Yield the bytes of one tensor: a random pattern, repeated."""
    items = min(prod(tensor.shape), PATTERN_BYTES // ELEMENT_BYTES[tensor.element])
    if tensor.element == "uint8":
        low, high = SCALE_RANGE if tensor.name.endswith("_scales") else (0, 256)
        pattern = draw.integers(low, high, items, dtype=np.uint8).tobytes()
    else:
        norms = tensor.module == "norms"
        values = np.ones(items, np.float32) if norms else draw.normal(0, 0.02, items).astype(np.float32)
        # BF16 is the upper half of a float32; both are little-endian, like safetensors.
        pattern = (
            values.tobytes() if tensor.element == "float32" else (values.view("<u4") >> 16).astype("<u2").tobytes()
        )
    left = tensor.bytes
    while left > 0:
        yield pattern[:left]
        left -= len(pattern)
