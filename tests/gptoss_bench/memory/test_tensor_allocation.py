"""Real children under real limits: what they reach is what was predicted, and the parent goes on living."""

import json
import shutil
import subprocess
import sys
from collections.abc import Callable

import pytest
from matplotlib.text import Text

from gptoss_bench.figures.memory import attempt_against_budget
from gptoss_bench.memory import tensor_allocation
from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.attempt import why_no_limit
from gptoss_bench.memory.capacity import weights_bytes
from gptoss_bench.memory.tensor_allocation import attempt_allocation
from gptoss_bench.runs.manifest import Manifest
from gptoss_client.errors import UsageError

MODEL = architectures()["gpt-oss-20b"]
GIB = 2**30
CHILD = [sys.executable, "-m", "gptoss_bench.memory.tensor_allocation_child"]
on_linux = pytest.mark.skipif(not sys.platform.startswith("linux"), reason="an address-space limit needs Linux")


@on_linux
@pytest.mark.parametrize(
    ("budget_bytes", "dtype", "place"),
    [
        (int(22.49 * GIB), "bf16", "layer 14 of 24"),
        (6 * GIB, "bf16", "layer 4 of 24"),
        (12 * GIB, "mxfp4", "head"),
        (1, "bf16", "embedding"),
    ],
)
def test_the_real_failure_is_where_it_was_predicted(budget_bytes: int, dtype: str, place: str) -> None:
    done = attempt_allocation(MODEL, budget_bytes, dtype)
    assert (done.outcome, done.exit_code) == ("out of memory", 1)
    assert done.error
    assert done.predicted
    assert done.predicted.place == place
    assert done.reached
    assert done.layers_apart is not None
    assert done.layers_apart <= 1
    assert done.allocated_bytes <= budget_bytes < done.allocated_bytes + done.reached.bytes + GIB // 4


@on_linux
def test_what_fits_is_loaded_whole_and_uses_hardly_any_memory() -> None:
    done = attempt_allocation(MODEL, int(22.49 * GIB), "mxfp4")
    assert (done.outcome, done.exit_code, done.error) == ("fits", 0, None)
    assert done.predicted is done.reached is None
    assert done.layers_apart == 0
    assert done.allocated_bytes == weights_bytes(MODEL, "mxfp4")
    assert done.usage_bytes["resident_peak_bytes"] < 3e9


@on_linux
def test_a_killed_child_leaves_its_last_layer_known(inject: Callable[[str, str], str], monkeypatch) -> None:
    layer = next(step for step in MODEL.allocations("bf16") if step.label == "layer 3 of 24, experts.down_proj")
    child = f"""
import os, signal, sys
from gptoss_bench.memory import tensor_allocation_child as child

def report_or_die(name, size_bytes, report=child.report_tensor):
    if name == {layer.name!r}:
        os.kill(os.getpid(), signal.SIGKILL)
    report(name, size_bytes)

child.report_tensor = report_or_die
sys.exit(child.answer_parent(child.allocate))
"""
    monkeypatch.setattr(tensor_allocation, "CHILD", inject("dying_child", child))
    done = attempt_allocation(MODEL, 20 * GIB)
    assert (done.outcome, done.exit_code) == ("killed", 137)
    assert done.reached == layer
    before = MODEL.allocations("bf16")
    assert done.allocated_bytes == sum(step.bytes for step in before[: before.index(done.reached)])


@on_linux
def test_the_picture_of_an_attempt_says_what_was_simulated_and_by_which_run() -> None:
    done = attempt_allocation(MODEL, 2 * GIB)
    figure = attempt_against_budget(done, MODEL.allocations("bf16"), Manifest(run_id="run-7"))
    words = [text.get_text() for text in figure.findobj(Text)]
    assert "simulated budget: CPU address-space limit, true shapes, no GPU" in words
    assert done.reached
    assert done.reached.label in words
    assert any("run-7" in text for text in words)


@on_linux
def test_a_child_that_takes_too_long_is_stopped_before_its_first_tensor() -> None:
    done = attempt_allocation(MODEL, GIB, timeout_s=0.05)  # a Python does not even start in that time
    assert (done.outcome, done.exit_code) == ("timeout", 137)
    assert done.error == "no end within 0.05 s; no tensor was made"
    assert done.reached == MODEL.allocations("bf16")[0]
    assert done.layers_apart is None


@on_linux
def test_a_child_that_hangs_is_stopped_and_its_last_tensor_is_known(inject, monkeypatch) -> None:
    steps = MODEL.allocations("bf16")
    last = next(step for step in steps if step.label == "layer 2 of 24, experts.down_proj")
    child = f"""
import sys, time
from gptoss_bench.memory import tensor_allocation_child as child

def report_and_hang(name, size_bytes, report=child.report_tensor):
    report(name, size_bytes)
    if name == {last.name!r}:
        time.sleep(600)

child.report_tensor = report_and_hang
sys.exit(child.answer_parent(child.allocate))
"""
    monkeypatch.setattr(tensor_allocation, "CHILD", inject("hanging_child", child))
    done = attempt_allocation(MODEL, 20 * GIB, timeout_s=12)
    assert (done.outcome, done.exit_code) == ("timeout", 137)
    assert done.error == f"no end within 12 s; the last tensor made was {last.name}"
    assert done.reached == steps[steps.index(last) + 1]


def test_a_child_without_a_parent_ends_by_itself() -> None:
    assert subprocess.run(CHILD, stdin=subprocess.DEVNULL, timeout=240, check=False).returncode == 0


@on_linux
def test_a_child_that_breaks_says_why() -> None:
    question = {"device": "cpu", "budget_bytes": GIB, "tensors": [("a", [2], "float32"), ("b", [2], "bfloat61")]}
    done = subprocess.run(CHILD, input=json.dumps(question), text=True, capture_output=True, timeout=240, check=False)
    first, last = map(json.loads, done.stdout.splitlines())
    assert first == {"made": "a", "bytes": 8}
    assert (done.returncode, last["outcome"]) == (1, "error")
    assert "bfloat61" in last["error"]


@on_linux
def test_a_lower_limit_of_the_shell_is_reported() -> None:
    question = '{"device": "cpu", "budget_bytes": 21474836480, "tensors": []}\n'
    limited = ["sh", "-c", 'ulimit -v 20000000; exec "$@"', "sh", *CHILD]
    done = subprocess.run(limited, input=question, text=True, capture_output=True, timeout=240, check=False)
    assert "raise ulimit -v" in done.stdout


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ({"budget_bytes": 0}, "above zero"),
        ({"budget_bytes": GIB, "timeout_s": 0}, "above zero"),
        ({"budget_bytes": GIB, "dtype": "int3"}, "choose one of bf16"),
        ({"budget_bytes": GIB, "device": "tpu"}, "choose one of cpu, cuda"),
    ],
)
def test_an_attempt_that_makes_no_sense_is_refused(arguments: dict[str, object], words: str) -> None:
    with pytest.raises(UsageError, match=words):
        attempt_allocation(MODEL, **arguments)


def test_platforms_without_an_address_space_limit_are_refused() -> None:
    assert "needs Linux and this is darwin" in str(why_no_limit("darwin", "cpu"))
    assert "needs Linux and this is win32" in str(why_no_limit("win32", "cpu"))
    assert why_no_limit("linux", "cpu") is why_no_limit("win32", "cuda") is None


@pytest.mark.skipif(shutil.which("nvidia-smi") is not None, reason="there is a GPU here")
def test_cuda_without_a_gpu_is_refused() -> None:
    with pytest.raises(UsageError, match="sees no CUDA GPU"):
        attempt_allocation(MODEL, GIB, device="cuda")


@pytest.mark.skipif(shutil.which("nvidia-smi") is None, reason="needs a CUDA GPU")
def test_cuda_runs_out_where_it_was_predicted() -> None:
    done = attempt_allocation(MODEL, 6 * GIB, device="cuda")
    assert (done.outcome, done.how) == ("out of memory", "CUDA memory fraction")
    assert done.layers_apart is not None
    assert done.layers_apart <= 1
