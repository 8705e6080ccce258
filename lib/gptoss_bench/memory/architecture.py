"""List the tensors that the weights of a model config consist of, in the order of loading.

Names, shapes and order are those of `GptOssForCausalLM` in transformers; a test compares them.
"""

import json
import reprlib
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, fields
from functools import cache
from math import prod
from typing import TYPE_CHECKING, Self

from gptoss_bench import paths
from gptoss_bench.memory.catalogue import Catalogue
from gptoss_bench.memory.dtypes import ELEMENT_BY_DTYPE, ELEMENT_BYTES, MXFP4_BLOCK_BYTES, MXFP4_BLOCK_WEIGHTS
from gptoss_bench.memory.quantisation import Packing, read_packing
from gptoss_client import UsageError

if TYPE_CHECKING:  # importing pydantic takes 0.1 s, and only annotations need it
    from pydantic import JsonValue

SLIDING, FULL = "sliding_attention", "full_attention"
NOT_IN_CONFIG = {"name", "quantisation", "packing"}  # fields of `Architecture` only
# OpenAI's own config.json, original/config.json on the hub, has these names and no model_type.
ORIGINAL_FIELDS = {"num_experts", "experts_per_token", "initial_context_length", "rope_scaling_factor"}
# The largest accepted values: about ten times those of any published model.
LARGEST_VALUES = {
    "vocab_size": 10_000_000,
    "hidden_size": 1_000_000,
    "intermediate_size": 1_000_000,
    "num_hidden_layers": 1_000,
    "num_attention_heads": 10_000,
    "num_key_value_heads": 10_000,
    "head_dim": 10_000,
    "num_local_experts": 10_000,
    "num_experts_per_tok": 10_000,
    "sliding_window": 100_000_000,
    "max_position_embeddings": 100_000_000,
}


@dataclass(frozen=True, slots=True)
class Allocation:
    """One tensor of the weights. `parameters` counts weights; a packed tensor has more weights than elements."""

    name: str  # as in the model: model.layers.13.mlp.experts.gate_up_proj
    place: str  # counted from 1, such as "layer 14 of 24"
    stage: int  # 0: embedding, 1 to L: layers, L + 1: last norm and head
    module: str
    shape: tuple[int, ...]
    element: str
    parameters: int

    @property
    def bytes(self) -> int:
        """Return the size of the tensor."""
        return prod(self.shape) * ELEMENT_BYTES[self.element]

    @property
    def label(self) -> str:
        """Return the tensor's place and short name, such as "layer 14 of 24, experts.gate_up_proj"."""
        within = self.name.split(".", 3)[3] if self.name.startswith("model.layers.") else self.name
        return f"{self.place}, {within.removeprefix('mlp.')}"


@dataclass(frozen=True, slots=True)
class Architecture:
    """The fields of a gpt-oss config.json that decide its size, under the same names."""

    name: str
    vocab_size: int
    hidden_size: int
    intermediate_size: int
    num_hidden_layers: int
    num_attention_heads: int
    num_key_value_heads: int
    head_dim: int
    num_local_experts: int
    num_experts_per_tok: int
    sliding_window: int
    max_position_embeddings: int
    layer_types: tuple[str, ...]
    attention_bias: bool
    tie_word_embeddings: bool
    quantisation: str | None  # of the checkpoint: "mxfp4", the method of `packing`, or None
    packing: Packing | None = None  # of a checkpoint that is neither MXFP4 nor unquantised

    @classmethod
    def from_config(cls, name: str, config: "Mapping[str, JsonValue]", stored_bytes: int | None = None) -> Self:
        """Read a config.json of model_type gpt_oss, also nested in text_config, or OpenAI's original config.json.

        Other fields are ignored. `stored_bytes` are those of the checkpoint's safetensors headers, if there are any.
        Raises UsageError if a field is missing or out of range, or the quantisation cannot be counted.
        """
        config = _language_model(name, config)
        if config.get("model_type") != "gpt_oss":
            raise UsageError(
                f"{name}: model_type is {reprlib.repr(config.get('model_type'))}, only 'gpt_oss' is supported"
            )
        needed = {field.name for field in fields(cls)} - NOT_IN_CONFIG
        if missing := sorted(needed - config.keys()):
            raise UsageError(f"{name}: the config is missing {', '.join(missing)}; pass the model's own config.json")
        sizes = {field: _size(name, field, config[field]) for field in LARGEST_VALUES}
        if sizes["num_experts_per_tok"] > sizes["num_local_experts"]:
            raise UsageError(f"{name}: num_experts_per_tok is larger than num_local_experts; correct the config")
        if sizes["num_attention_heads"] % sizes["num_key_value_heads"]:
            raise UsageError(
                f"{name}: num_attention_heads is not a multiple of num_key_value_heads; correct the config"
            )
        packing = read_packing(name, config, stored_bytes)
        method = packing.method if packing else "mxfp4" if config.get("quantization_config") else None
        return cls(
            name=name,
            layer_types=_layer_types(name, config["layer_types"], sizes["num_hidden_layers"]),
            quantisation=method,
            packing=packing,
            attention_bias=_flag(name, "attention_bias", config["attention_bias"]),
            tie_word_embeddings=_flag(name, "tie_word_embeddings", config["tie_word_embeddings"]),
            **sizes,
        )

    def config_fields(self) -> "dict[str, JsonValue]":
        """Return the fields that decide the size, as in config.json."""
        return {key: value for key, value in asdict(self).items() if key not in NOT_IN_CONFIG} | {
            "layer_types": list(self.layer_types)
        }

    def allocations(self, dtype: str) -> tuple[Allocation, ...]:
        """Return every tensor of the weights in the order of loading: embedding, layers, last norm, head.

        `dtype` is "bf16", "fp32", "fp8", or "mxfp4" (expert weights packed, the rest BF16).
        Raises UsageError for another dtype, and for sizes that MXFP4 cannot divide into blocks of 32.
        """
        if dtype not in ELEMENT_BY_DTYPE:
            raise UsageError(f"dtype {dtype!r} is unknown; choose one of {', '.join(ELEMENT_BY_DTYPE)}")
        if dtype == "mxfp4" and any(size % MXFP4_BLOCK_WEIGHTS for size in (self.hidden_size, self.intermediate_size)):
            raise UsageError(f"{self.name}: hidden_size and intermediate_size must be multiples of 32 for mxfp4")
        return tuple(self._tensors(dtype))

    def _tensors(self, dtype: str) -> Iterator[Allocation]:
        depth, table = self.num_hidden_layers, (self.vocab_size, self.hidden_size)

        def whole(name: str, place: str, stage: int, module: str, shape: tuple[int, ...]) -> Allocation:
            return Allocation(name, place, stage, module, shape, ELEMENT_BY_DTYPE[dtype], prod(shape))

        yield whole("model.embed_tokens.weight", "embedding", 0, "embedding", table)
        for layer in range(depth):
            at = (f"layer {layer + 1} of {depth}", layer + 1)
            for name, module, shape in self._layer():
                tensor = whole(f"model.layers.{layer}.{name}", *at, module, shape)
                yield from _packed(tensor) if dtype == "mxfp4" and module == "expert weights" else [tensor]
        yield whole("model.norm.weight", "last norm", depth + 1, "norms", (self.hidden_size,))
        if not self.tie_word_embeddings:
            yield whole("lm_head.weight", "head", depth + 1, "head", table)

    def _layer(self) -> Iterator[tuple[str, str, tuple[int, ...]]]:
        hidden, middle, experts = self.hidden_size, self.intermediate_size, self.num_local_experts
        queries, keys = self.num_attention_heads * self.head_dim, self.num_key_value_heads * self.head_dim
        yield "self_attn.sinks", "attention", (self.num_attention_heads,)  # one learned logit per head
        projections = {"q": (queries, hidden), "k": (keys, hidden), "v": (keys, hidden), "o": (hidden, queries)}
        for letter, shape in projections.items():
            yield f"self_attn.{letter}_proj.weight", "attention", shape
            if self.attention_bias:
                yield f"self_attn.{letter}_proj.bias", "attention", shape[:1]
        yield "mlp.router.weight", "router", (experts, hidden)
        yield "mlp.router.bias", "router", (experts,)
        yield "mlp.experts.gate_up_proj", "expert weights", (experts, hidden, 2 * middle)
        yield "mlp.experts.gate_up_proj_bias", "expert biases", (experts, 2 * middle)
        yield "mlp.experts.down_proj", "expert weights", (experts, middle, hidden)
        yield "mlp.experts.down_proj_bias", "expert biases", (experts, hidden)
        yield "input_layernorm.weight", "norms", (hidden,)
        yield "post_attention_layernorm.weight", "norms", (hidden,)


def _packed(tensor: Allocation) -> Iterator[Allocation]:
    """Yield the two tensors that pack an expert tensor (experts, in, out): blocks along `in`, then their scales."""
    experts, rows, columns = tensor.shape
    scales = (experts, columns, rows // MXFP4_BLOCK_WEIGHTS)
    at = (tensor.place, tensor.stage, tensor.module)
    yield Allocation(tensor.name + "_blocks", *at, (*scales, MXFP4_BLOCK_BYTES), "uint8", tensor.parameters)
    yield Allocation(tensor.name + "_scales", *at, scales, "uint8", 0)


def _language_model(name: str, config: "Mapping[str, JsonValue]") -> "Mapping[str, JsonValue]":
    """Return the fields of the language model, under the names of transformers."""
    text = config.get("text_config")
    if config.get("model_type") != "gpt_oss" and isinstance(text, Mapping):
        return {"quantization_config": config.get("quantization_config")} | dict(text)
    return _original(name, config) if "model_type" not in config and config.keys() >= ORIGINAL_FIELDS else config


def _original(name: str, config: "Mapping[str, JsonValue]") -> "Mapping[str, JsonValue]":
    """Return OpenAI's original config.json under the names of transformers; its code and weights say the rest."""
    depth = _size(name, "num_hidden_layers", config.get("num_hidden_layers"))
    context = _size(name, "max_position_embeddings", config["initial_context_length"])
    factor = config["rope_scaling_factor"]
    if not isinstance(factor, int | float) or not 1 <= factor <= LARGEST_VALUES["max_position_embeddings"] / context:
        raise UsageError(f"{name}: rope_scaling_factor is {reprlib.repr(factor)}, it must be a number from 1")
    return dict(config) | {
        "model_type": "gpt_oss",
        "num_local_experts": config["num_experts"],
        "num_experts_per_tok": config["experts_per_token"],
        "max_position_embeddings": int(context * factor),
        "layer_types": [FULL if layer % 2 else SLIDING for layer in range(depth)],
        "attention_bias": True,
        "tie_word_embeddings": False,
        "quantization_config": {"quant_method": "mxfp4"},
    }


def _size(name: str, field: str, value: "JsonValue") -> int:
    if type(value) is not int or not 1 <= value <= LARGEST_VALUES[field]:
        most = LARGEST_VALUES[field]
        raise UsageError(f"{name}: {field} is {reprlib.repr(value)}, it must be a whole number from 1 to {most:,}")
    return value


def _flag(name: str, field: str, value: "JsonValue") -> bool:
    if type(value) is not bool:
        raise UsageError(f"{name}: {field} is {reprlib.repr(value)}, it must be true or false")
    return value


def _layer_types(name: str, kinds: "JsonValue", depth: int) -> tuple[str, ...]:
    if not isinstance(kinds, list | tuple) or len(kinds) != depth:
        raise UsageError(f"{name}: layer_types must list {depth} layers, the value of num_hidden_layers")
    if strange := [kind for kind in kinds if kind not in (SLIDING, FULL)]:
        raise UsageError(
            f"{name}: layer_types holds {reprlib.repr(strange[0])}; only {SLIDING} and {FULL} are supported"
        )
    return tuple(map(str, kinds))


@cache
def architectures() -> Catalogue[Architecture]:
    """Return the architectures of the kit's architectures.json by name."""
    return read_architectures(paths.ARCHITECTURES.read_text(encoding="utf-8"))


def read_architectures(text: str) -> Catalogue[Architecture]:
    """Parse {name: {"config": the fields of a config.json}}. Raises UsageError for anything else."""
    try:
        configs = {name: entry["config"] for name, entry in json.loads(text).items()}
    except (ValueError, RecursionError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"architectures.json is not {{name: {{config: ...}}}} ({error}); correct the file") from error
    return Catalogue({name: Architecture.from_config(name, config) for name, config in configs.items()})
