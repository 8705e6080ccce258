"""Write a checkpoint with the names, shapes and dtypes of a real model and random weights.

It is written as a stream, one safetensors file per stage of the model, so that only the disk limits its size. With a
`Speech` its answers are well-formed harmony: plain random weights never reach the control tokens, so that a server's
parser holds each answer back to its end.
"""

import json
import random
import shutil
import struct
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from math import prod
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

import numpy as np
import numpy.typing as npt

from gptoss_bench.files import writing
from gptoss_bench.memory.architecture import Allocation, Architecture
from gptoss_bench.memory.dtypes import ELEMENT_BYTES, SAFETENSORS_NAMES
from gptoss_client import UsageError

if TYPE_CHECKING:
    from pydantic import JsonValue

# A tensor is this random pattern, repeated. A prime number of elements: no two rows of an embedding are the same.
PATTERN_ITEMS = 2_097_143
DISK_RESERVE_BYTES = 10**9
# The modules that the published checkpoints keep in BF16, as listed in their config.json.
UNQUANTISED_MODULES = ["model.layers.*.self_attn", "model.layers.*.mlp.router", "model.embed_tokens", "lm_head"]
# What the published configs hold beside the sizes. `random_weights` is the marker by which the kit knows its own.
RANDOM_WEIGHTS_KEY = "random_weights"
PUBLISHED_VOCABULARY = 201_088
PUBLISHED_TOKENS: "Mapping[str, JsonValue]" = {"eos_token_id": 200002, "pad_token_id": 199999}
COMMON_FIELDS: "Mapping[str, JsonValue]" = {
    "model_type": "gpt_oss",
    "architectures": ["GptOssForCausalLM"],
    "hidden_act": "silu",
    "initial_context_length": 4096,
    "rms_norm_eps": 1e-05,
    "swiglu_limit": 7.0,
    "rope_theta": 150000,
    "rope_scaling": {
        "rope_type": "yarn",
        "factor": 32.0,
        "beta_fast": 32.0,
        "beta_slow": 1.0,
        "original_max_position_embeddings": 4096,
        "truncate": False,
    },
    RANDOM_WEIGHTS_KEY: "made by gptoss-bench random-checkpoint: no answer has a meaning",
}
# Standard deviations by the end of a tensor's name, and the range of the exponents of MXFP4 scales. With them the
# layers add about a third of the embedding's size, so that the embedding of the last token decides which tokens may
# follow, and the layers which of them does.
DEVIATIONS = {
    "embed_tokens.weight": 1.0,
    "self_attn.sinks": 1.0,
    "o_proj.weight": 0.0015,
    "experts.down_proj": 0.0014,
    "experts.down_proj_bias": 0.002,
}
DEVIATION = 0.02
SCALE_RANGES = {"gate_up_proj_scales": (119, 122), "down_proj_scales": (115, 118)}
# Logits of the tokens that may follow are near this, those of all others are about 0 to 5.
FOLLOWING_LOGIT = 57.6
FOLLOWERS = 8


@dataclass(frozen=True, slots=True)
class Speech:
    """Which tokens may follow which: `sources[token]` are the tokens after which it may come."""

    sources: Mapping[int, Sequence[int]]

    @classmethod
    def harmony(cls, words: Sequence[int], opening: Sequence[int], seed: int = 0) -> "Speech":
        """Return an endless answer: each token of `opening` follows the one before it, then come words without end.

        `opening` starts with the last token of the prompt, such as assistant, <|channel|>, final, <|message|>. Each of
        the `words` has eight that may follow it.
        """
        dice = random.Random(seed)
        sources: dict[int, list[int]] = {word: [] for word in words}
        for _ in range(FOLLOWERS):
            followers = list(words)
            dice.shuffle(followers)
            for word, follower in zip(words, followers, strict=True):
                sources[follower].append(word)
        for word in words[:FOLLOWERS]:
            sources[word].append(opening[-1])
        return cls(sources | {after: [before] for before, after in pairwise(opening)})


def write_random_checkpoint(
    architecture: Architecture, folder: Path, dtype: str = "mxfp4", *, seed: int = 0, speech: Speech | None = None
) -> int:
    """Write config.json, the safetensors files and their index; return the bytes of all weights.

    `dtype` is "mxfp4", "bf16" or "fp32". Raises UsageError for another dtype, for a disk that is too full, or if the
    folder cannot be written.
    """
    if dtype not in ("mxfp4", "bf16", "fp32"):
        raise UsageError(f"cannot write a checkpoint in {dtype!r}; choose mxfp4, bf16 or fp32")
    if speech and architecture.tie_word_embeddings:
        raise UsageError(f"{architecture.name}: with tied embeddings no well-formed answers can be built in")
    steps = architecture.allocations(dtype)
    stages = [list(group) for _, group in groupby(steps, key=lambda step: step.stage)]
    files = [f"model-{number:05}-of-{len(stages):05}.safetensors" for number in range(1, len(stages) + 1)]
    total = sum(step.bytes for step in steps)
    _require_disk_space(folder, total)
    draw = np.random.default_rng(seed)
    with writing(folder, "free space or choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        embedding = None
        for file, stage in zip(files, stages, strict=True):
            patterns = {step.name: _pattern(step, draw) for step in stage}
            _write(folder / file, stage, patterns)
            embedding = patterns.get("model.embed_tokens.weight", embedding)
            if speech and embedding is not None and any(step.name == "lm_head.weight" for step in stage):
                _write_head_rows(folder / file, architecture, stage, embedding, speech)
        places = {step.name: file for file, stage in zip(files, stages, strict=True) for step in stage}
        index = {"metadata": {"total_size": total}, "weight_map": places}
        (folder / "model.safetensors.index.json").write_text(json.dumps(index, indent=1))
        (folder / "config.json").write_text(json.dumps(_config(architecture, dtype), indent=1))
    return total


def has_random_weights(folder: Path) -> bool:
    """Return whether the config.json of a folder says that its weights are random."""
    try:
        config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError):
        return False
    return isinstance(config, dict) and RANDOM_WEIGHTS_KEY in config


def with_layers(architecture: Architecture, layers: int | None) -> Architecture:
    """Return an architecture with only its first layers. Raises UsageError for more layers than it has, or none."""
    if layers is None:
        return architecture
    if not 1 <= layers <= architecture.num_hidden_layers:
        raise UsageError(f"{layers} layers are not possible; choose 1 to {architecture.num_hidden_layers}")
    return replace(architecture, num_hidden_layers=layers, layer_types=architecture.layer_types[:layers])


def _require_disk_space(folder: Path, need_bytes: int) -> None:
    there = next(path for path in (folder, *folder.absolute().parents) if path.exists())
    free = shutil.disk_usage(there).free
    if free < need_bytes + DISK_RESERVE_BYTES:
        raise UsageError(
            f"{folder} needs {need_bytes / 1e9:.1f} GB and 1 GB to spare, the disk has {free / 1e9:.1f} GB free: "
            "free some space, choose another folder, or fewer layers"
        )


def _config(architecture: Architecture, dtype: str) -> "dict[str, JsonValue]":
    config = dict(COMMON_FIELDS) | architecture.config_fields()
    config["experts_per_token"] = architecture.num_experts_per_tok
    if architecture.vocab_size == PUBLISHED_VOCABULARY:
        config |= PUBLISHED_TOKENS
    if dtype == "mxfp4":
        config["quantization_config"] = {"quant_method": "mxfp4", "modules_to_not_convert": [*UNQUANTISED_MODULES]}
    return config | {"dtype": "float32" if dtype == "fp32" else "bfloat16"}


def _header(tensors: Sequence[Allocation]) -> tuple[bytes, dict[str, int]]:
    """Return the header of a safetensors file, and the offset of each tensor in the file."""
    entries, offsets, at = {}, {}, 0
    for tensor in tensors:
        span = (at, at + tensor.bytes)
        entries[tensor.name] = {
            "dtype": SAFETENSORS_NAMES[tensor.element],
            "shape": tensor.shape,
            "data_offsets": span,
        }
        offsets[tensor.name], at = at, at + tensor.bytes
    text = json.dumps(entries).encode()
    text += b" " * (-len(text) % 8)  # the data starts at a multiple of 8
    header = struct.pack("<Q", len(text)) + text
    return header, {name: len(header) + offset for name, offset in offsets.items()}


def _write(path: Path, tensors: Sequence[Allocation], patterns: Mapping[str, npt.NDArray[np.generic]]) -> None:
    with path.open("wb") as file:
        file.write(_header(tensors)[0])
        for tensor in tensors:
            for piece in _pieces(patterns[tensor.name].tobytes(), tensor.bytes):
                file.write(piece)


def _write_head_rows(
    path: Path,
    architecture: Architecture,
    stage: Sequence[Allocation],
    embedding: npt.NDArray[np.generic],
    speech: Speech,
) -> None:
    """Overwrite the head's rows of the tokens that a speech names: each is the sum of its sources' embeddings."""
    head = next(step for step in stage if step.name == "lm_head.weight")
    width = architecture.hidden_size
    start = _header(stage)[1][head.name]

    def row(token: int) -> npt.NDArray[np.float32]:
        items = (token * width + np.arange(width)) % len(embedding)
        return _as_float32(embedding[items])

    with path.open("r+b") as file:
        for token, sources in speech.sources.items():
            values = np.sum([row(source) for source in sources], axis=0) * (FOLLOWING_LOGIT / width)
            _write_at(file, start + token * width * ELEMENT_BYTES[head.element], _stored(values, head.element))


def _write_at(file: BinaryIO, offset: int, values: npt.NDArray[np.generic]) -> None:
    file.seek(offset)
    file.write(values.tobytes())


def _pieces(pattern: bytes, size: int) -> Iterator[bytes]:
    """Yield a pattern, repeated up to `size` bytes."""
    while size > 0:
        yield pattern[:size]
        size -= len(pattern)


def _pattern(tensor: Allocation, draw: np.random.Generator) -> npt.NDArray[np.generic]:
    """Return the random elements that a tensor repeats."""
    items = min(prod(tensor.shape), PATTERN_ITEMS)
    if tensor.element == "uint8":
        low, high = next((span for end, span in SCALE_RANGES.items() if tensor.name.endswith(end)), (0, 256))
        return draw.integers(low, high, items, dtype=np.uint8)
    if tensor.module == "norms":
        return _stored(np.ones(items, np.float32), tensor.element)
    deviation = next((each for end, each in DEVIATIONS.items() if tensor.name.endswith(end)), DEVIATION)
    return _stored(draw.standard_normal(items, np.float32) * np.float32(deviation), tensor.element)


def _stored(values: npt.NDArray[np.floating], element: str) -> npt.NDArray[np.generic]:
    """Return float32 values as they are stored. BF16 is the upper half of a float32; both are little-endian."""
    wide = values.astype("<f4")
    return wide if element == "float32" else (wide.view("<u4") >> 16).astype("<u2")


def _as_float32(stored: npt.NDArray[np.generic]) -> npt.NDArray[np.float32]:
    """Return stored values as float32."""
    wide = stored if stored.dtype.itemsize == 4 else (stored.astype("<u4") << 16).view("<f4")
    return wide.astype(np.float32)
