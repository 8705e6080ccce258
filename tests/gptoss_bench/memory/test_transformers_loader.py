"""transformers' own loader in a real child, where one tensor is put elsewhere: memory ran out, or something else."""

import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_bench.memory import transformers_loader
from gptoss_bench.memory.architecture import FULL, SLIDING, architectures
from gptoss_bench.memory.random_checkpoint import write_random_checkpoint
from gptoss_bench.memory.transformers_loader import attempt_checkpoint_load, loading_order
from gptoss_client.errors import UsageError

if not sys.platform.startswith("linux"):
    pytest.skip("an address-space limit needs Linux", allow_module_level=True)

GIB = 2**30
SMALL = replace(
    architectures()["gpt-oss-20b"],
    name="small",
    vocab_size=64,
    hidden_size=32,
    intermediate_size=32,
    num_hidden_layers=4,
    layer_types=(SLIDING, FULL) * 2,
    num_attention_heads=8,
    num_local_experts=4,
)
ELSEWHERE = "model.layers.2.mlp.experts.gate_up_proj"
# The child with a loader that unpacks its sixth tensor of experts into a place where it was not asked to; on a GPU
# transformers does so after torch.OutOfMemoryError. FAILED stands for the count of CUDA's allocator.
CHILD = """
import sys
from transformers.integrations import mxfp4
from gptoss_bench.memory import transformers_loader_child as child

unpacked = []

def unpack_elsewhere(*arguments, original=mxfp4.convert_moe_packed_tensors, **named):
    unpacked.append(original(*arguments, **named))
    return unpacked[-1].to("meta") if len(unpacked) == 6 else unpacked[-1]

mxfp4.convert_moe_packed_tensors = unpack_elsewhere
child.memory_usage = lambda device: {"num_ooms": FAILED}
sys.exit(child.answer_parent(child.load, child.find_cause))
"""


def test_a_load_that_fits_decodes_the_tokens_that_were_asked_for(tmp_path: Path):
    plain = replace(SMALL, quantisation=None)
    write_random_checkpoint(plain, tmp_path / "plain", "bf16")
    done = attempt_checkpoint_load(tmp_path / "plain", plain, 4 * GIB, device="cpu", as_called=True, decode_tokens=5)
    assert (done.outcome, done.decode_tokens) == ("fits", 5), done.error
    assert done.decode_s is not None and done.decode_s > 0
    assert done.how.endswith(", as called")
    assert done.summary().decode_s == done.decode_s
    with pytest.raises(UsageError, match="choose 0 to 4096"):
        attempt_checkpoint_load(tmp_path / "plain", plain, GIB, device="cpu", decode_tokens=-1)


def test_as_called_a_tensor_elsewhere_does_not_end_the_load(inject, monkeypatch, tmp_path: Path):
    write_random_checkpoint(SMALL, tmp_path / "small")
    monkeypatch.setattr(transformers_loader, "CHILD", inject("goes_on", CHILD.replace("FAILED", "1")))
    done = attempt_checkpoint_load(tmp_path / "small", SMALL, 4 * GIB, device="cpu", as_called=True)
    assert done.outcome in ("offloaded", "error"), done.error
    assert done.allocated_bytes == sum(step.bytes for step in loading_order(SMALL) if step.name != ELSEWHERE)


@pytest.mark.parametrize(
    ("failed", "expected"),
    [
        (1, ("out of memory", f"(num_ooms 1) and transformers went on unpacking on the CPU: {ELSEWHERE} is on meta")),
        (0, ("offloaded", f"the loader put {ELSEWHERE} on meta, not on cpu")),
    ],
)
def test_a_tensor_that_lands_elsewhere_ends_the_load_there(inject, monkeypatch, tmp_path: Path, failed, expected):
    folder = tmp_path / "small"
    write_random_checkpoint(SMALL, folder)
    monkeypatch.setattr(transformers_loader, "CHILD", inject("unpacks_elsewhere", CHILD.replace("FAILED", str(failed))))
    done = attempt_checkpoint_load(folder, SMALL, 4 * GIB, device="cpu")
    outcome, words = expected
    assert (done.outcome, done.exit_code) == (outcome, 1), done.error
    assert words in done.error
    assert done.reached.name == ELSEWHERE
    assert done.reached.label == "layer 3 of 4, experts.gate_up_proj"
    steps = loading_order(SMALL)
    assert done.allocated_bytes == sum(step.bytes for step in steps[: steps.index(done.reached)])
