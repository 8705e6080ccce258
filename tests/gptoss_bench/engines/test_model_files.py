"""Checkpoints in folders: how many weights they have, what label that gives, and whether there is room for one."""

import json
import math
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.engines.model_files import count_parameters, disk_space_error, is_fetched, local_model
from gptoss_bench.runs.labels import join_labels, model_label
from gptoss_client.errors import UsageError

SHAPES = st.lists(st.lists(st.integers(1, 50), min_size=0, max_size=3), min_size=1, max_size=6)


def write(file: Path, shapes: list[list[int]]) -> None:
    """A safetensors file as its format says, its data a hole."""
    tensors, at = {}, 0
    for number, shape in enumerate(shapes):
        end = at + 2 * math.prod(shape)
        tensors[f"{file.stem}.{number}"] = {"dtype": "BF16", "shape": shape, "data_offsets": [at, end]}
        at = end
    header = json.dumps({"__metadata__": {"format": "pt"}, **tensors}).encode()
    with file.open("wb") as content:
        content.write(len(header).to_bytes(8, "little") + header)
        content.truncate(8 + len(header) + at)


@given(SHAPES, SHAPES)
def test_weights_are_counted_over_all_files(tmp_path_factory, first, second):
    folder = tmp_path_factory.mktemp("c")
    write(folder / "model-1.safetensors", first)
    write(folder / "model-2.safetensors", second)
    assert count_parameters(folder) == sum(map(math.prod, first + second))


@pytest.mark.parametrize("content", [b"", b"\xff" * 64, b"\x02\0\0\0\0\0\0\0[]", b'\x07\0\0\0\0\0\0\0{"a":1}'])
def test_a_torn_file_has_no_number_and_no_label(tmp_path, content):
    (tmp_path / "model.safetensors").write_bytes(content)
    assert count_parameters(tmp_path) is None
    assert count_parameters(tmp_path / "nowhere") is None
    assert model_label("m", None) is None


def test_a_toy_is_labelled_by_its_weights_and_the_kits_own_by_its_name():
    assert model_label("openai/gpt-oss-20b", 26_000_000) == "TINY MODEL"
    assert model_label("openai/gpt-oss-20b", 20_914_757_184) is None
    assert model_label("somewhere/gpt-oss-tiny-o200k", None) == "TINY MODEL"


def test_labels_are_joined_once_each():
    assert join_labels(None, None) is None
    assert join_labels("TINY MODEL", None, "CPU") == "TINY MODEL, CPU"
    assert join_labels("TINY MODEL, CPU", "CPU") == "TINY MODEL, CPU"


def test_a_name_on_the_hub_is_no_folder_and_a_folder_needs_a_checkpoint(tmp_path):
    assert local_model("openai/gpt-oss-20b") is None
    with pytest.raises(UsageError, match="is missing there"):
        local_model(str(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert local_model(str(tmp_path)) == tmp_path.resolve()


def test_what_is_fetched_is_found_in_the_hubs_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    assert not is_fetched("openai/gpt-oss-20b")
    snapshot = tmp_path / "models--openai--gpt-oss-20b" / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    write(snapshot / "model.safetensors", [[1]])
    assert is_fetched("openai/gpt-oss-20b")


def test_a_disk_that_is_too_small_is_reported_with_both_numbers():
    assert disk_space_error("openai/gpt-oss-20b", 13.76e9, 14e9, Path("/models")) is None
    assert disk_space_error("openai/gpt-oss-20b", 13.76e9, 5e9, Path("/models")) == (
        "openai/gpt-oss-20b has to be downloaded and needs 13.8 GB, /models has 5.0 GB free: "
        "free some space, or set HF_HOME to a folder on another disk"
    )
