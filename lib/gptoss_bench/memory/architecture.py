"""A model's config to its tensors: the ordered list of everything that loading its weights has to allocate.

Names, shapes and order are those of `GptOssForCausalLM` in transformers; a test holds them against it.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, fields
from math import prod
from typing import Any, Self, TypeVar

from gptoss_client import UsageError

ITEM_BYTES = {"bfloat16": 2, "float32": 4, "uint8": 1, "float8_e4m3fn": 1}
# What a dtype keeps everything but the experts' weights in; mxfp4 packs those weights alone. fp8 is the bound from
# below: one byte for every weight and no scales, where engines leave embeddings, norms and sinks wider.
REST = {"bf16": "bfloat16", "fp32": "float32", "mxfp4": "bfloat16", "fp8": "float8_e4m3fn"}
# MXFP4: 32 weights of 4 bits share one scale byte, so 17 bytes hold 32 weights: 4.25 bits each.
BLOCK_WEIGHTS = 32
BLOCK_BYTES = 16

SLIDING, FULL = "sliding_attention", "full_attention"
# The largest values taken for sane: some ten times what any published model has.
LIMITS = {
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
    """One tensor of the weights. `parameters` counts weights; a packed tensor has more of them than elements."""

    name: str  # as in the model: model.layers.13.mlp.experts.gate_up_proj
    place: str  # in words, counted from 1: "layer 14 of 24"
    stage: int  # 0 the embedding, 1 to L the layers, L + 1 what follows them
    module: str
    shape: tuple[int, ...]
    element: str
    parameters: int

    @property
    def bytes(self) -> int:
        """Bytes that the tensor takes."""
        return prod(self.shape) * ITEM_BYTES[self.element]

    @property
    def words(self) -> str:
        """Where loading stands at this tensor, such as "layer 14 of 24, experts.gate_up_proj"."""
        within = self.name.split(".", 3)[3] if self.name.startswith("model.layers.") else self.name
        return f"{self.place}, {within.removeprefix('mlp.')}"


@dataclass(frozen=True, slots=True)
class Architecture:
    """The numbers of a gpt-oss config that decide its size; the fields are named as in config.json."""

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
    quantisation: str | None  # of the published checkpoint: "mxfp4" or None

    @classmethod
    def from_config(cls, name: str, config: Mapping[str, Any]) -> Self:
        """Read what a config.json of model_type gpt_oss holds; other fields are ignored.

        Raises UsageError where a field is missing or absurd, or the quantisation is not one we know.
        """
        if config.get("model_type") != "gpt_oss":
            raise UsageError(f"{name}: model_type is {config.get('model_type')!r}, only 'gpt_oss' is counted here")
        needed = {field.name for field in fields(cls)} - {"name", "quantisation"}
        if missing := sorted(needed - config.keys()):
            raise UsageError(f"{name}: the config lacks {', '.join(missing)}; give the model's own config.json")
        for field, most in LIMITS.items():
            value = config[field]
            if type(value) is not int or not 1 <= value <= most:
                raise UsageError(f"{name}: {field} is {value!r}, it has to be a whole number from 1 to {most:,}")
        for field in ("attention_bias", "tie_word_embeddings"):
            if type(config[field]) is not bool:
                raise UsageError(f"{name}: {field} is {config[field]!r}, it has to be true or false")
        _check_layer_types(name, config["layer_types"], config["num_hidden_layers"])
        if config["num_experts_per_tok"] > config["num_local_experts"]:
            raise UsageError(f"{name}: num_experts_per_tok is larger than num_local_experts; look at both")
        if config["num_attention_heads"] % config["num_key_value_heads"]:
            raise UsageError(f"{name}: num_attention_heads is no multiple of num_key_value_heads; look at both")
        packing = config.get("quantization_config") or {}
        if not isinstance(packing, Mapping):
            raise UsageError(f"{name}: quantization_config is {packing!r}, it has to be an object with quant_method")
        quantisation = packing.get("quant_method")
        if quantisation not in (None, "mxfp4"):
            raise UsageError(f"{name}: quantisation {quantisation!r} is unknown; mxfp4 or none is counted here")
        values = {field: config[field] for field in needed - {"layer_types"}}
        return cls(name=name, layer_types=tuple(config["layer_types"]), quantisation=quantisation, **values)

    def allocations(self, dtype: str) -> tuple[Allocation, ...]:
        """Every tensor of the weights in the order of loading: embedding, layers, last norm, head.

        `dtype` is "bf16", "fp32", "fp8", or "mxfp4" (the experts' weights packed, the rest BF16).
        Raises UsageError for another dtype, and for rows that MXFP4 cannot cut into blocks of 32.
        """
        if dtype not in REST:
            raise UsageError(f"dtype {dtype!r} is unknown; choose one of {', '.join(REST)}")
        if dtype == "mxfp4" and (self.hidden_size % BLOCK_WEIGHTS or self.intermediate_size % BLOCK_WEIGHTS):
            raise UsageError(f"{self.name}: hidden and intermediate size must be multiples of 32 for mxfp4")
        return tuple(self._tensors(dtype))

    def _tensors(self, dtype: str) -> Iterator[Allocation]:
        depth, table = self.num_hidden_layers, (self.vocab_size, self.hidden_size)

        def whole(name: str, place: str, stage: int, module: str, shape: tuple[int, ...]) -> Allocation:
            return Allocation(name, place, stage, module, shape, REST[dtype], prod(shape))

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
    """An expert tensor (experts, in, out) as the checkpoint packs it: blocks along `in`, then their scales."""
    experts, rows, columns = tensor.shape
    scales = (experts, columns, rows // BLOCK_WEIGHTS)
    at = (tensor.place, tensor.stage, tensor.module)
    yield Allocation(tensor.name + "_blocks", *at, (*scales, BLOCK_BYTES), "uint8", tensor.parameters)
    yield Allocation(tensor.name + "_scales", *at, scales, "uint8", 0)


def _check_layer_types(name: str, kinds: Any, depth: int) -> None:
    if not isinstance(kinds, list | tuple) or len(kinds) != depth:
        raise UsageError(f"{name}: layer_types has to list {depth} layers, as num_hidden_layers says")
    if strange := [kind for kind in kinds if kind not in (SLIDING, FULL)]:
        raise UsageError(f"{name}: layer_types holds {strange[0]!r}; only {SLIDING} and {FULL} are known")


Named = TypeVar("Named")


def read_architectures(text: str) -> dict[str, Architecture]:
    """The kit's architectures.json: {name: {"config": a config.json, ...}}. Raises UsageError for a bad config."""
    try:
        configs = {name: entry["config"] for name, entry in json.loads(text).items()}
    except (ValueError, AttributeError, KeyError, TypeError) as error:
        raise UsageError(f"this is not an architectures.json ({error}); give {{name: {{config: ...}}}}") from error
    return {name: Architecture.from_config(name, config) for name, config in configs.items()}


def catalogue_entry(catalogue: Mapping[str, Named], name: str) -> Named:
    """The entry of that name. Raises UsageError listing the names that there are."""
    if name not in catalogue:
        raise UsageError(f"{name!r} is not known here; choose one of: {', '.join(catalogue)}")
    return catalogue[name]
