"""`attempt` from a shell, a child killed for real, and transformers' own loader under three budgets."""

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_bench.cli.main import main
from gptoss_bench.memory.architecture import FULL, SLIDING, architectures
from gptoss_bench.memory.attempt import explain_signal
from gptoss_bench.memory.capacity import weights_bytes
from gptoss_bench.memory.random_checkpoint import write_random_checkpoint
from gptoss_bench.memory.transformers_loader import attempt_checkpoint_load, first_not_to_load, loading_order
from gptoss_bench.memory.transformers_mxfp4 import FAILS, installed_setup, predict_mxfp4_decision
from gptoss_client.errors import UsageError

if not sys.platform.startswith("linux"):
    pytest.skip("an address-space limit needs Linux", allow_module_level=True)

GIB = 2**30
MB = 10**6
PUBLISHED = architectures()["gpt-oss-20b"]
# Layers of some 54 MB: large beside what Python and torch take while they load.
MIDDLE = replace(
    PUBLISHED,
    name="middle",
    vocab_size=20_000,
    hidden_size=512,
    intermediate_size=512,
    num_hidden_layers=8,
    layer_types=(SLIDING, FULL) * 4,
    num_attention_heads=16,
)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("models") / "middle"
    write_random_checkpoint(MIDDLE, folder)
    return folder


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


def attempt(capsys, *arguments: str) -> tuple[int, dict]:
    code = main(["attempt", "--device", "cpu", "--json", *arguments])
    return code, json.loads(capsys.readouterr().out)


def test_the_a10s_budget_ends_it_in_layer_14_and_the_picture_is_drawn(capsys, tmp_path):
    picture = tmp_path / "attempt.png"
    code, found = attempt(capsys, "--model", "gpt-oss-20b", "--budget", "A10", "--figure", str(picture))
    assert code == 0
    assert (found["outcome"], found["exit_code"]) == ("out of memory", 1)
    assert found["predicted"] == "layer 14 of 24, experts.down_proj"
    assert found["layers_apart"] in (0, 1)
    assert found["budget"] == "NVIDIA A10 (bare metal / pass-through)"
    assert "allocate" in found["error"]
    assert found["usage_bytes"]["resident_peak_bytes"] < 3e9 < found["usage_bytes"]["address_space_peak_bytes"]
    assert picture.read_bytes().startswith(b"\x89PNG")


def test_what_fits_is_printed_as_lines(capsys):
    code = main(["attempt", "--device", "cpu", "--model", "gpt-oss-20b", "--budget", "16GiB", "--dtype", "mxfp4"])
    out = capsys.readouterr().out
    assert code == 0
    assert "gpt-oss-20b in MXFP4 into 16.00 GiB, by CPU address-space limit" in out
    assert "none: it fits" in out


def test_a_child_that_is_killed_makes_exit_code_137_and_is_reported():
    command = [sys.executable, "-m", "gptoss_bench", "attempt", "--model", "gpt-oss-20b", "--budget", "A10"]
    parent = subprocess.Popen([*command, "--device", "cpu", "--json"], stdout=subprocess.PIPE, text=True)
    found: list[int] = []
    while not found and parent.poll() is None:
        found = children(parent.pid)
        time.sleep(0.005)
    os.kill(found[0], signal.SIGKILL)
    out, _ = parent.communicate(timeout=240)
    reported = json.loads(out)
    assert parent.returncode == reported["exit_code"] == 137
    assert reported["outcome"] == "killed"
    assert reported["error"].startswith("killed (exit code 137, SIGKILL)")
    assert reported["layers_apart"] is None


def test_the_killer_is_reported_by_the_kernels_own_count():
    assert "most likely" in explain_signal(137, None, None)
    assert "by the kernel's out-of-memory killer" in explain_signal(137, 3, 4)
    assert "counted no such kill" in explain_signal(137, 3, 3)
    assert "signal 11" in explain_signal(139, 3, 3)


@pytest.mark.parametrize(
    ("budget_mb", "layer"),
    [(150, 1), pytest.param(300, 3, marks=pytest.mark.slow), pytest.param(420, 5, marks=pytest.mark.slow)],
)
def test_transformers_own_loader_ends_where_it_was_predicted(checkpoint, budget_mb, layer):
    done = attempt_checkpoint_load(checkpoint, MIDDLE, budget_mb * MB, device="cpu")
    assert (done.outcome, done.exit_code) == ("out of memory", 1)
    assert "can't allocate memory" in done.error
    assert done.predicted.place == f"layer {layer} of 8"
    assert done.layers_apart in (0, 1), done.reached.label
    assert done.usage_bytes["resident_peak_bytes"] > 0


def test_transformers_own_loader_unpacks_all_of_it_where_it_fits(capsys, checkpoint):
    code, found = attempt(capsys, "--model", str(checkpoint), "--budget", "8GiB", "--load")
    assert (code, found["outcome"], found["reached"], found["layers_apart"]) == (0, "fits", None, 0)
    assert found["allocated_bytes"] == weights_bytes(MIDDLE, "bf16")
    assert found["how"] == "transformers' loader, CPU address-space limit"


def test_the_loaders_order_is_by_name_and_it_needs_room_to_unpack():
    names = [step.name for step in loading_order(PUBLISHED)]
    assert sorted(names) == sorted(step.name for step in PUBLISHED.allocations("bf16"))
    assert names[:3] == ["lm_head.weight", "model.embed_tokens.weight", "model.layers.0.input_layernorm.weight"]
    assert names[-1] == "model.norm.weight"
    layers = [step.stage for step in loading_order(PUBLISHED) if 1 <= step.stage <= 24]
    assert layers == sorted(layers)
    unpacked = first_not_to_load(PUBLISHED, int(22.49 * GIB))
    whole = first_not_to_load(replace(PUBLISHED, quantisation=None), int(22.49 * GIB))
    assert unpacked.stage < whole.stage == 14
    assert first_not_to_load(PUBLISHED, 50 * 10**9) is None


def test_a_random_checkpoint_is_written_and_loaded_and_nothing_is_overwritten(capsys, tmp_path):
    tiny = replace(MIDDLE, name="tiny", vocab_size=64, hidden_size=32, intermediate_size=32, num_local_experts=4)
    write_random_checkpoint(tiny, tmp_path / "tiny")
    for file in (tmp_path / "tiny").glob("*.safetensors"):
        file.unlink()
    made = tmp_path / "made"
    arguments = ("--model", str(tmp_path / "tiny"), "--budget", "1GiB", "--load", "--random-weights", str(made))
    code, found = attempt(capsys, *arguments)
    assert (code, found["outcome"]) == (0, "fits")
    assert main(["attempt", "--device", "cpu", *arguments]) == 2
    assert "is not empty" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--budget", "lots"], "unknown GPU"),
        (["--budget", "A10", "--dtype", "int3"], "choose one of"),
        (["--budget", "A10", "--device", "tpu"], "choose one of cpu, cuda"),
        (["--budget", "A10", "--timeout-s", "0"], "above zero"),
        (["--budget", "A10", "--timeout-s", "inf"], "and finite"),
        (["--budget", "A10", "--timeout-s", "nan"], "and finite"),
        (["--budget", "A10", "--load"], "needs a folder with safetensors"),
        (["--budget", "A10", "--figure", "x.txt"], "must end in"),
    ],
)
def test_an_attempt_that_makes_no_sense_is_one_line_and_exit_code_2(capsys, arguments, words):
    code = main(["attempt", "--model", "gpt-oss-20b", *arguments])
    out, err = capsys.readouterr()
    assert (code, out, err.count("\n")) == (2, "", 1)
    assert words in err


def test_a_folder_without_weights_is_refused(tmp_path):
    with pytest.raises(UsageError, match="no safetensors"):
        attempt_checkpoint_load(tmp_path, MIDDLE, GIB, device="cpu")


@pytest.mark.parametrize(("written", "dtype"), [("mxfp4", "fp8"), ("bf16", "mxfp4")])
def test_what_the_loader_cannot_make_is_refused(tmp_path, written, dtype):
    tiny = replace(MIDDLE, vocab_size=64, hidden_size=32, intermediate_size=32, num_local_experts=4)
    write_random_checkpoint(tiny, tmp_path, written)
    found = replace(tiny, quantisation="mxfp4" if written == "mxfp4" else None)
    with pytest.raises(UsageError, match="choose bf16"):
        attempt_checkpoint_load(tmp_path, found, GIB, dtype, device="cpu")


def test_packed_weights_that_nothing_keeps_packed_are_neither_success_nor_failure(tmp_path):
    tiny = replace(MIDDLE, name="tiny", vocab_size=64, hidden_size=32, intermediate_size=32, num_local_experts=4)
    write_random_checkpoint(tiny, tmp_path)
    done = attempt_checkpoint_load(tmp_path, tiny, 4 * GIB, "mxfp4", device="cpu")
    expected = predict_mxfp4_decision(installed_setup()).outcome
    if expected == FAILS:
        assert (done.outcome, done.exit_code) == ("error", 1)
        assert "ccelerate" in done.error
    else:
        assert (done.outcome, done.exit_code) == ("unpacked", 1)
        assert "with only a warning" in done.error
    assert done.layers_apart is None


def test_a_loader_that_meets_a_broken_checkpoint_says_why(tmp_path):
    tiny = replace(MIDDLE, name="tiny", vocab_size=64, hidden_size=32, intermediate_size=32, num_local_experts=4)
    write_random_checkpoint(tiny, tmp_path)
    (tmp_path / "config.json").write_text("{")
    done = attempt_checkpoint_load(tmp_path, tiny, 4 * GIB, device="cpu")
    assert (done.outcome, done.exit_code, done.layers_apart) == ("error", 1, None)
    assert done.error
