"""Convert a gpt-oss checkpoint in MXFP4 to one GGUF file for llama.cpp and Ollama, tensor by tensor.

The values stay the same: packed experts are only reordered, matrices stay BF16, the rest becomes F32.
"""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import gguf
import numpy as np
import numpy.typing as npt
import torch
from gguf import GGMLQuantizationType as Quantisation
from safetensors import safe_open
from tokenizers import Tokenizer
from transformers import GptOssConfig

from gptoss_bench.files import writing
from gptoss_bench.tiny_model.gguf_export import write_config, write_vocabulary
from gptoss_bench.tiny_model.gguf_import import GGUF_NAMES
from gptoss_client import UsageError

Bytes = npt.NDArray[np.uint8]
OUTER_NAMES = {
    "model.embed_tokens.weight": "token_embd.weight",
    "model.norm.weight": "output_norm.weight",
    "lm_head.weight": "output.weight",
}
# Of a gate_up tensor the even rows are the gate and the odd ones the up projection.
EXPERT_ROWS = {"ffn_gate_exps": ("gate_up_proj", slice(0, None, 2)), "ffn_up_exps": ("gate_up_proj", slice(1, None, 2))}
EXPERT_ROWS |= {"ffn_down_exps": ("down_proj", slice(None))}


@dataclass(frozen=True, slots=True)
class GgufTensor:
    """One tensor of the GGUF file; `read` returns its bytes, the last dimension in bytes."""

    name: str
    kind: Quantisation
    byte_shape: tuple[int, ...]
    read: Callable[[], Bytes]


def write_checkpoint_gguf(folder: Path, path: Path, name: str) -> None:
    """Write the checkpoint of a folder, with its tokenizer and chat template, to `path`; it is complete or absent.

    `name` is the model's name in the file. Raises UsageError for a checkpoint that is not packed as MXFP4, and if the
    file cannot be written.
    """
    places = json.loads((folder / "model.safetensors.index.json").read_text())["weight_map"]
    if not any(each.endswith("_blocks") for each in places):
        raise UsageError(f"{folder} is not packed as MXFP4: a GGUF file is made from an MXFP4 checkpoint only")
    partial = path.with_name(f"{path.name}.partial")
    tensors = list(_tensors(folder, places))
    with writing(path, "free space or choose another file"):
        writer = gguf.GGUFWriter(partial, "gpt-oss")
        write_config(writer, GptOssConfig.from_pretrained(folder), name)
        write_vocabulary(
            writer, Tokenizer.from_file(str(folder / "tokenizer.json")), (folder / "chat_template.jinja").read_text()
        )
        for each in tensors:
            size = int(np.prod(each.byte_shape))
            if each.kind is Quantisation.F32:
                shape, dtype = (*each.byte_shape[:-1], each.byte_shape[-1] // 4), np.dtype(np.float32)
                writer.add_tensor_info(each.name, shape, dtype, size)
            else:
                writer.add_tensor_info(each.name, each.byte_shape, np.dtype(np.uint8), size, raw_dtype=each.kind)
        writer.write_header_to_file()
        writer.write_kv_data_to_file()
        writer.write_ti_data_to_file()
        for each in tensors:
            writer.write_tensor_data(each.read())
        writer.close()
        partial.replace(path)


def _tensors(folder: Path, places: dict[str, str]) -> Iterator[GgufTensor]:
    def load(name: str) -> torch.Tensor:
        with safe_open(folder / places[name], framework="pt") as file:
            found: torch.Tensor = file.get_tensor(name)
        return found

    def shape_of(name: str) -> tuple[int, ...]:
        with safe_open(folder / places[name], framework="pt") as file:
            return tuple(file.get_slice(name).get_shape())

    def plain(name: str, gguf_name: str, rows: slice | None = None) -> GgufTensor:
        matrix = len(shape_of(name)) > 1 and rows is None and "ffn_gate_inp" not in gguf_name
        kind, width = (Quantisation.BF16, 2) if matrix else (Quantisation.F32, 4)

        def read() -> Bytes:
            tensor = load(name) if rows is None else load(name)[..., rows]
            stored = tensor if matrix else tensor.float()
            found: Bytes = stored.contiguous().view(torch.uint8).numpy()
            return found

        shape = shape_of(name)
        last = len(range(*rows.indices(shape[-1]))) if rows else shape[-1]
        return GgufTensor(gguf_name, kind, (*shape[:-1], last * width), read)

    for name, gguf_name in OUTER_NAMES.items():
        yield plain(name, gguf_name)
    for layer in range(1 + max(int(each.split(".")[2]) for each in places if each.startswith("model.layers."))):
        source, target = f"model.layers.{layer}.", f"blk.{layer}."
        for name, gguf_name in GGUF_NAMES.items():
            yield plain(source + name, target + gguf_name)
        for gguf_name, (name, rows) in EXPERT_ROWS.items():
            packed = f"{source}mlp.experts.{name}"
            experts, outs, blocks, _ = shape_of(f"{packed}_blocks")
            kept = len(range(*rows.indices(outs)))

            def read(packed: str = packed, rows: slice = rows) -> Bytes:
                found = (load(f"{packed}{end}")[:, rows].numpy() for end in ("_blocks", "_scales"))
                return as_gguf_blocks(*found)

            yield GgufTensor(f"{target}{gguf_name}.weight", Quantisation.MXFP4, (experts, kept, blocks * 17), read)
            yield plain(f"{packed}_bias", f"{target}{gguf_name}.bias", rows)


def as_gguf_blocks(blocks: Bytes, scales: Bytes) -> Bytes:
    """Return MXFP4 blocks in the order of GGUF, (experts, rows, bytes of a row).

    A checkpoint has two neighbouring weights in a byte, GGUF the weights j and j + 16 of a block, after its scale.
    """
    weights = np.stack((blocks & 15, blocks >> 4), axis=-1).reshape(*blocks.shape[:-1], 32)
    packed = weights[..., :16] | (weights[..., 16:] << 4)
    return np.concatenate((scales[..., None], packed), axis=-1).reshape(*scales.shape[:-1], -1)
