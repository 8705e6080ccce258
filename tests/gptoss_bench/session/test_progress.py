"""The progress of a run is shown by every process that is not a kernel of papermill."""

import json
import re
import subprocess
import sys
import time
from pathlib import Path

from gptoss_bench.runs.run_step import RunStep, read_run_step, write_run_step
from gptoss_bench.session.progress import LoadProgress, RunProgress
from gptoss_client.plan import LoadPlan

SHOWN = """
import sys
from gptoss_bench.session import progress
{before}
progress.LOG_S = 0
display = progress.ProgressDisplay()
display.update("3 of 4 requests")
display.close()
"""


def said(before: str) -> str:
    done = subprocess.run([sys.executable, "-c", SHOWN.format(before=before)], capture_output=True, check=True)
    return done.stderr.decode()


def test_a_log_has_the_progress_also_after_a_notebook_was_executed_by_this_process():
    assert "3 of 4 requests" in said("")
    assert "3 of 4 requests" in said("import ipykernel.kernelapp")


def test_a_kernel_without_a_jupyter_server_keeps_silent():
    began = "from ipykernel.kernelapp import IPKernelApp; IPKernelApp.instance()"
    assert said(f"import os; os.environ.pop('JPY_SESSION_NAME', None); {began}") == ""


PLAN = LoadPlan(concurrency=4, requests=20, warmup=4, sweep=(2, 8), sweep_waves=3)
SECOND = 1_000_000_000


def ended(load: LoadProgress, phase: str, count: int, *, each_s: float, begin_s: float) -> float:
    """Count requests of a phase that ended one every `each_s`, the last of them now; return when it ended."""
    for number in range(1, count + 1):
        load.add(phase, int(begin_s * SECOND), int((begin_s + number * each_s) * SECOND))
    return begin_s + count * each_s


def test_the_time_left_is_that_of_the_whole_load_and_a_limit_where_other_levels_follow(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: int(now_s[0] * SECOND))
    load = LoadProgress(PLAN)
    now_s[0] = ended(load, "warmup", 4, each_s=1.0, begin_s=0.0)
    # 20 requests at 1 a second; 10 of 2 streams, at least at half of that; 24 of 8 streams, at least as fast.
    assert load.text() == "warm-up: 4 of 4 requests, at most about 1:04 left"
    now_s[0] = ended(load, "measure", 2, each_s=0.6, begin_s=4.0)
    assert load.text() == "load: 2 of 20 requests"  # not a request per slot yet
    now_s[0] = ended(load, "measure", 8, each_s=0.6, begin_s=5.2)
    assert load.text().startswith("load: 10 of 20 requests, at most about ")
    assert load.text(time_left=False) == "load: 10 of 20 requests"
    ended(load, "sweep-2", 10, each_s=1.0, begin_s=12.0)
    now_s[0] = ended(load, "sweep-8", 8, each_s=0.5, begin_s=22.0)
    assert load.text() == "sweep, 8 streams: 8 of 24 requests, about 0:08 left"
    now_s[0] += 1.0
    assert load.text() == "sweep, 8 streams: 8 of 24 requests, about 0:07 left"
    ended(load, "sweep-8", 16, each_s=0.5, begin_s=26.0)
    assert load.text() == "computing tables and figures"


def test_a_load_that_ends_by_time_has_the_rest_of_its_time_left(monkeypatch):
    now_s = [0.0]
    monkeypatch.setattr(time, "perf_counter_ns", lambda: int(now_s[0] * SECOND))
    load = LoadProgress(LoadPlan(concurrency=2, requests=None, duration_s=30.0))
    now_s[0] = ended(load, "measure", 1, each_s=5.0, begin_s=1.0)
    assert load.text() == "load: 1 request, about 0:25 left"
    now_s[0] = 40.0
    assert load.text() == "load: 1 request, waiting for the last responses"


def write_manifest(run: Path, **parameters: object) -> None:
    run.mkdir(parents=True, exist_ok=True)
    document = {"status": "running", "endpoint": {"url": "http://127.0.0.1:1"}, "parameters": parameters}
    (run / "manifest.json").write_text(json.dumps(document))


def test_a_step_of_the_run_is_shown_in_place_of_its_requests(tmp_path):
    run = tmp_path / "runs" / "one"
    write_manifest(run, concurrency=2, requests=4)
    progress = RunProgress(run)
    assert progress.text() == "waiting for the first response"
    known = "holds at 2, fails at 4"
    step = RunStep("level 4: 3.2 requests/s", time.monotonic(), lasts_s=40.0, rest_s=5000.0, known=known)
    write_run_step(run, step)
    text = progress.text()
    assert re.fullmatch(
        r"level 4: 3\.2 requests/s, \d:\d\d of 0:40; holds at 2, fails at 4; at most about 8\d:\d\d left", text
    )
    assert text.startswith(progress.text(time_left=False)[:28]) and "left" not in progress.text(time_left=False)
    write_manifest(run.parent / "two", concurrency=2, requests=4)
    write_run_step(run, RunStep("run 2 of 3", time.monotonic(), run_id="two"))
    assert progress.text() == "run 2 of 3, waiting for the first response"
    write_run_step(run, RunStep("computing tables and figures", time.monotonic()))
    assert progress.text() == "computing tables and figures" and progress.text(otherwise="cell 7") == "cell 7"
    write_run_step(run, None)
    write_run_step(run, None)
    assert read_run_step(run) is None
