"""Read the quantization of a config.json, and count the bytes that its checkpoint stores of a model.

Counted are packed weights with their scales and zero points. Scales per tensor or per row are left out: they are
smaller than one part in a thousand.
"""

import re
import reprlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from fnmatch import fnmatchcase
from fractions import Fraction
from typing import TYPE_CHECKING, Protocol

from gptoss_client import UsageError

if TYPE_CHECKING:
    from pydantic import JsonValue

UNPACKED_BITS = Fraction(16)  # BF16, which every method keeps for what it does not pack
# Kinds of module whose matrices a method packs. The router of gpt-oss is no linear layer in transformers; MLX packs it.
LINEAR_LAYERS = frozenset({"attention", "expert weights", "head"})
MLX_LAYERS = LINEAR_LAYERS | {"router", "embedding"}
LISTS_OF_UNPACKED = ("modules_to_not_convert", "llm_int8_skip_modules", "ignore", "ignored_layers", "exclude")
# bitsandbytes: one float32 per block of 64 weights; with double quantisation one byte, and a float32 per 256 of those.
BNB_SCALE_BITS, BNB_DOUBLE_SCALE_BITS = Fraction(32, 64), Fraction(8, 64) + Fraction(32, 64 * 256)
# Bits of the scale of a group: one byte for the formats of 4-bit floats, a 16-bit float for integers.
FLOAT_SCALE_BITS, INTEGER_SCALE_BITS = 8, 16


class Tensor(Protocol):
    """What is needed of a tensor of the model; `Allocation` has it."""

    @property
    def name(self) -> str: ...  # noqa: D102
    @property
    def module(self) -> str: ...  # noqa: D102
    @property
    def shape(self) -> tuple[int, ...]: ...  # noqa: D102
    @property
    def parameters(self) -> int: ...  # noqa: D102


@dataclass(frozen=True, slots=True)
class Packing:
    """How a checkpoint that is neither MXFP4 nor unquantised stores its weights."""

    method: str  # for the reader: "NVFP4 (modelopt)"
    bits: Fraction = UNPACKED_BITS  # of a packed weight, with its share of scales and zero points
    modules: frozenset[str] = LINEAR_LAYERS
    unpacked: tuple[str, ...] = ()  # patterns of the names that stay BF16
    bits_by_name: tuple[tuple[str, Fraction], ...] = ()
    stored_bytes: int | None = None  # of the checkpoint's own headers, which replace the count

    def bytes_of(self, tensors: Iterable[Tensor]) -> int:
        """Return the bytes of a model's tensors, or those that the headers of the checkpoint hold."""
        if self.stored_bytes is not None:
            return self.stored_bytes
        return -(-sum(each.parameters * self._bits_of(each) for each in tensors) // 8)

    def _bits_of(self, tensor: Tensor) -> Fraction:
        name = tensor.name.removesuffix(".weight")
        if tensor.module not in self.modules or len(tensor.shape) < 2:
            return UNPACKED_BITS
        if any(_names(pattern, name) for pattern in self.unpacked):
            return UNPACKED_BITS
        return dict(self.bits_by_name).get(name, self.bits)


def read_packing(name: str, config: "Mapping[str, JsonValue]", stored_bytes: int | None = None) -> Packing | None:
    """Return the packing that a config.json declares; None for MXFP4 and for a config without quantisation.

    `stored_bytes` are those of the checkpoint's safetensors headers, if there are any. Raises UsageError for a method
    that cannot be counted from the config, unless the headers are known.
    """
    declared = config.get("quantization_config") or config.get("quantization")
    if declared is None or (declared == {} and "quantization_config" in config):
        return None
    if not isinstance(declared, Mapping):
        raise UsageError(
            f"{name}: quantization_config is {reprlib.repr(declared)}, it must be an object with quant_method"
        )
    method = declared.get("quant_method")
    if method == "mxfp4":
        return None
    try:
        packing = _counted(str(method), declared) if method else _mlx(declared)
    except (ValueError, TypeError, IndexError):
        packing = None
    if stored_bytes is not None:
        return Packing(packing.method if packing else str(method or "unknown"), stored_bytes=stored_bytes)
    if packing is None:
        named = f"quantisation {reprlib.repr(method)}" if method else "quantization_config without quant_method"
        raise UsageError(
            f"{name}: {named} cannot be counted from this config; pass the folder with its .safetensors files "
            "(their headers are counted), or gpt-oss-20b or gpt-oss-120b for the published MXFP4 weights"
        )
    return packing


def _counted(method: str, declared: "Mapping[str, JsonValue]") -> Packing | None:
    """Return the packing of a method with a name; None if it or one of its details is unknown."""
    read = READER_BY_METHOD.get(method)
    return read(method, declared, _unpacked(declared)) if read else None


def _bitsandbytes(_: str, declared: "Mapping[str, JsonValue]", unpacked: tuple[str, ...]) -> Packing | None:
    if declared.get("load_in_4bit"):
        kind = str(declared.get("bnb_4bit_quant_type") or "fp4").upper()
        scale = BNB_DOUBLE_SCALE_BITS if declared.get("bnb_4bit_use_double_quant") else BNB_SCALE_BITS
        return Packing(f"{kind} (bitsandbytes)", 4 + scale, unpacked=unpacked)
    return Packing("INT8 (bitsandbytes)", Fraction(8), unpacked=unpacked) if declared.get("load_in_8bit") else None


def _integers(method: str, declared: "Mapping[str, JsonValue]", unpacked: tuple[str, ...]) -> Packing:
    width = _whole(declared.get("bits", declared.get("w_bit")))
    group = declared.get("group_size", declared.get("q_group_size"))
    bits = _grouped(width, group, INTEGER_SCALE_BITS + width)  # a scale and a zero point
    return Packing(f"{method.upper()} of {width} bits", bits, unpacked=unpacked)


def _fp8(_: str, declared: "Mapping[str, JsonValue]", unpacked: tuple[str, ...]) -> Packing:
    block = declared.get("weight_block_size")
    scale = Fraction(32, _whole(block[0]) * _whole(block[1])) if isinstance(block, list) else Fraction(0)
    return Packing("FP8", 8 + scale, unpacked=unpacked)


def _modelopt(method: str, declared: "Mapping[str, JsonValue]", unpacked: tuple[str, ...]) -> Packing | None:
    """Return the packing that quant_algo names, or else that of config_groups."""
    if declared.get("quant_algo") == "NVFP4":
        return Packing(f"NVFP4 ({method})", _grouped(4, 16, FLOAT_SCALE_BITS), unpacked=unpacked)
    if declared.get("quant_algo") == "FP8":
        return Packing(f"FP8 ({method})", Fraction(8), unpacked=unpacked)
    groups = declared.get("config_groups")
    weights = [_at(group, "weights") for group in groups.values()] if isinstance(groups, Mapping) else []
    return _same_for_all(method, weights, unpacked)


def _same_for_all(method: str, weights: "list[JsonValue]", unpacked: tuple[str, ...]) -> Packing | None:
    """Return the packing of groups of layers; None if there is none, or if they have different ones."""
    found = set()
    for each in weights:
        width, kind = _whole(_at(each, "num_bits")), _at(each, "type")
        symmetric = kind == "float" or _at(each, "symmetric") is not False
        scale = FLOAT_SCALE_BITS if kind == "float" else INTEGER_SCALE_BITS + (0 if symmetric else width)
        found.add((f"{kind}{width} ({method})", _grouped(width, _at(each, "group_size"), scale)))
    if len(found) != 1:
        return None
    ((label, bits),) = found
    return Packing(label, bits, unpacked=unpacked)


def _quark(_: str, declared: "Mapping[str, JsonValue]", unpacked: tuple[str, ...]) -> Packing | None:
    """Return the packing of Quark's global_quant_config, if all layers have it."""
    weight = _at(declared.get("global_quant_config"), "weight")
    kind, group = str(_at(weight, "dtype")), _at(weight, "group_size")
    if declared.get("layer_quant_config"):
        return None
    if kind == "fp4":
        return Packing("FP4 (quark)", _grouped(4, group, FLOAT_SCALE_BITS), unpacked=unpacked)
    return Packing("FP8 (quark)", Fraction(8), unpacked=unpacked) if kind in ("fp8_e4m3", "fp8_e5m2") else None


READER_BY_METHOD: "dict[str, Callable[[str, Mapping[str, JsonValue], tuple[str, ...]], Packing | None]]" = {
    "bitsandbytes": _bitsandbytes,
    "gptq": _integers,
    "awq": _integers,
    "fp8": _fp8,
    "fbgemm_fp8": _fp8,
    "modelopt": _modelopt,
    "compressed-tensors": _modelopt,
    "quark": _quark,
}


def _mlx(declared: "Mapping[str, JsonValue]") -> Packing | None:
    """Return the packing of MLX, which names no method: bits and group size of all layers, and of some by name."""
    if "bits" not in declared or "group_size" not in declared:
        return None
    by_name = [(name, _mlx_bits(each)) for name, each in declared.items() if isinstance(each, Mapping)]
    bits, mode = _mlx_bits(declared), declared.get("mode", "affine")
    return Packing(f"{mode} of {declared['bits']} bits (MLX)", bits, MLX_LAYERS, bits_by_name=tuple(by_name))


def _mlx_bits(layer: "Mapping[str, JsonValue]") -> Fraction:
    affine = layer.get("mode", "affine") == "affine"  # a scale and a bias of 16 bits each, else one byte
    return _grouped(_whole(layer.get("bits")), layer.get("group_size"), 32 if affine else FLOAT_SCALE_BITS)


def _grouped(width: int, group: "JsonValue", extra_bits: int) -> Fraction:
    """Return the bits of a weight if each group of weights has `extra_bits`; without groups these do not count."""
    if group in (None, -1, 0):
        return Fraction(width)
    return width + Fraction(extra_bits, _whole(group))


def _whole(value: "JsonValue") -> int:
    if type(value) is not int or not 1 <= value <= 10**6:
        raise ValueError(value)
    return value


def _at(value: "JsonValue", key: str) -> "JsonValue":
    return value.get(key) if isinstance(value, Mapping) else None


def _unpacked(declared: "Mapping[str, JsonValue]") -> tuple[str, ...]:
    lists = [declared.get(key) for key in LISTS_OF_UNPACKED]
    return tuple(str(pattern) for each in lists if isinstance(each, list) for pattern in each)


def _names(pattern: str, name: str) -> bool:
    """Return whether a pattern of a list names a module or what is inside it: "re:…", with *, or a part of the name."""
    if pattern.startswith("re:"):
        try:
            return re.match(pattern[3:], name) is not None
        except re.error:
            return False
    if "*" in pattern:
        return fnmatchcase(name, pattern) or fnmatchcase(name, f"{pattern}.*")
    return f".{pattern}." in f".{name}."
