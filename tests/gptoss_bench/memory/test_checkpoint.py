"""Headers of files that safetensors itself writes, and every broken file as one line."""

import struct
from math import prod
from pathlib import Path

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from safetensors.torch import save, save_file

from gptoss_bench.memory.checkpoint import CheckpointTotals, checkpoint_totals, read_headers
from gptoss_client.errors import UsageError

DTYPES = {
    torch.bool: "BOOL",
    torch.uint8: "U8",
    torch.bfloat16: "BF16",
    torch.float32: "F32",
    torch.int64: "I64",
    torch.float8_e4m3fn: "F8_E4M3",
}
shapes = st.lists(st.integers(0, 5), max_size=3)


@given(st.dictionaries(st.text(min_size=1, max_size=8), st.tuples(st.sampled_from(list(DTYPES)), shapes), max_size=4))
def test_names_shapes_dtypes_and_bytes_are_those_that_were_written(tmp_path_factory, tensors):
    folder = tmp_path_factory.mktemp("written")
    made = {name: torch.zeros(shape, dtype=dtype) for name, (dtype, shape) in tensors.items() if name != "__metadata__"}
    save_file(made, folder / "model.safetensors", metadata={"format": "pt"})
    headers = read_headers(folder)
    assert set(headers) == set(made)
    for name, tensor in made.items():
        assert headers[name].dtype == DTYPES[tensor.dtype]
        assert headers[name].shape == tuple(tensor.shape)
        assert headers[name].bytes == tensor.nbytes


def test_packed_bytes_count_twice_and_scales_not_at_all(tmp_path: Path):
    blocks, scales = torch.zeros(2, 3, 16, dtype=torch.uint8), torch.zeros(2, 3, dtype=torch.uint8)
    save_file({"a_blocks": blocks, "a_scales": scales}, tmp_path / "1.safetensors")
    save_file({"b": torch.zeros(5)}, tmp_path / "2.safetensors")
    expected = CheckpointTotals(2, 3, 2 * prod(blocks.shape) + 5, 96 + 6 + 20, {"U8": 102, "F32": 20})
    assert checkpoint_totals(tmp_path) == expected


def test_a_folder_without_safetensors_has_no_totals(tmp_path: Path):
    assert checkpoint_totals(tmp_path) is None


def test_a_tensor_in_two_files_is_refused(tmp_path: Path):
    for name in ("1.safetensors", "2.safetensors"):
        save_file({"a": torch.zeros(1)}, tmp_path / name)
    with pytest.raises(UsageError, match=r"2\.safetensors: a is also in another file"):
        read_headers(tmp_path)


WHOLE = save({"a": torch.zeros(4)})
NESTED = b'{"a":' * 10_000


@pytest.mark.parametrize(
    "content",
    [b"", WHOLE[:5], WHOLE[:20], WHOLE[:-1], WHOLE + b"0", b"\xff" * 64, struct.pack("<Q", len(NESTED)) + NESTED],
    ids=["empty", "no length", "half a header", "cut", "too long", "no header", "deeply nested"],
)
def test_a_broken_file_is_refused_in_one_line(tmp_path: Path, content: bytes):
    (tmp_path / "model.safetensors").write_bytes(content)
    with pytest.raises(UsageError, match=r"model\.safetensors is broken or incomplete \(.+\); download") as refused:
        read_headers(tmp_path)
    assert "\n" not in str(refused.value)


def test_what_cannot_be_read_is_refused(tmp_path: Path):
    (tmp_path / "model.safetensors").symlink_to(tmp_path / "gone")
    with pytest.raises(UsageError, match=r"cannot read .*model\.safetensors .*; check the folder"):
        read_headers(tmp_path)
