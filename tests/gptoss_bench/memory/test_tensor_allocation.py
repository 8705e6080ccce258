"""Real children under real limits: what they reach is what was predicted, and the parent goes on living."""

import shutil
import subprocess
import sys

import pytest
from matplotlib.text import Text

from gptoss_bench.figures.memory import attempt_against_budget
from gptoss_bench.memory import tensor_allocation
from gptoss_bench.memory.architecture import architectures
from gptoss_bench.memory.attempt import send_question, why_no_limit
from gptoss_bench.memory.capacity import weights_bytes
from gptoss_bench.memory.tensor_allocation import attempt_allocation
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
def test_a_killed_child_leaves_its_last_layer_known(monkeypatch: pytest.MonkeyPatch) -> None:
    layer = next(step for step in MODEL.allocations("bf16") if step.label == "layer 3 of 24, experts.down_proj")
    seen: list[object] = []

    def send_or_kill(child: subprocess.Popen[str], question: dict[str, object]) -> None:
        seen.append(question.get("shape"))
        if seen.count(layer.shape) == layer.stage:
            child.kill()
            child.wait()
        send_question(child, question)

    monkeypatch.setattr(tensor_allocation, "send_question", send_or_kill)
    done = attempt_allocation(MODEL, 20 * GIB)
    assert (done.outcome, done.exit_code) == ("killed", 137)
    assert done.reached
    assert done.reached.label == "layer 3 of 24, experts.down_proj"
    before = MODEL.allocations("bf16")
    assert done.allocated_bytes == sum(step.bytes for step in before[: before.index(done.reached)])


@on_linux
def test_the_picture_of_an_attempt_says_what_was_simulated_and_by_which_run() -> None:
    done = attempt_allocation(MODEL, 2 * GIB)
    figure = attempt_against_budget(done, MODEL.allocations("bf16"), {"run_id": "run-7"})
    words = [text.get_text() for text in figure.findobj(Text)]
    assert "simulated budget: CPU address-space limit, true shapes, no GPU" in words
    assert done.reached
    assert done.reached.label in words
    assert any("run-7" in text for text in words)


@on_linux
def test_a_child_that_takes_too_long_is_stopped() -> None:
    done = attempt_allocation(MODEL, GIB, timeout_s=0.05)  # a Python does not even start in that time
    assert done.outcome == "error"
    assert done.error == "stopped: no end within 0.05 s"
    assert done.layers_apart is None


def test_a_child_without_a_parent_ends_by_itself() -> None:
    assert subprocess.run(CHILD, stdin=subprocess.DEVNULL, timeout=60, check=False).returncode == 0


@on_linux
def test_a_child_that_breaks_says_why() -> None:
    question = '{"device": "cpu", "budget_bytes": 1000000000}\n{"shape": [2], "element": "bfloat61"}\n'
    done = subprocess.run(CHILD, input=question, text=True, capture_output=True, timeout=60, check=False)
    assert done.stdout == '{"outcome": "fits"}\n'
    assert done.returncode == 1
    assert "bfloat61" in done.stderr.splitlines()[-1]


@on_linux
def test_a_lower_limit_of_the_shell_is_reported() -> None:
    question = '{"device": "cpu", "budget_bytes": 21474836480}\n'
    limited = ["sh", "-c", 'ulimit -v 20000000; exec "$@"', "sh", *CHILD]
    done = subprocess.run(limited, input=question, text=True, capture_output=True, timeout=60, check=False)
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
