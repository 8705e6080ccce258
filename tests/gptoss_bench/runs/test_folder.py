"""A run can be read whenever its writer stopped."""

import contextlib
import os
import resource
import signal
import subprocess
import sys
from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench import paths
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.spool import Spool, from_parquet, one_by_one, read_spool, to_parquet
from gptoss_bench.runs.summary import OtherSummary
from gptoss_client.errors import UsageError
from gptoss_client.timestamps import WALL_CLOCK
from gptoss_client.trace import Ending, Trace

STREAM = b'data: {"choices":[{"delta":{"content":"hi"},"finish_reason":"stop"}]}\n\ndata: [DONE]\n\n'

traces = st.builds(
    Trace,
    request_id=st.integers(0, 2**40),
    phase=st.sampled_from(["warmup", "measure", "cold"]),
    prompt_id=st.integers(0, 10**6),
    scheduled_ns=st.integers(0, 2**62),
    sent_ns=st.none() | st.integers(0, 2**62),
    connect_s=st.none() | st.floats(0, 10),
    status=st.none() | st.integers(100, 599),
    pieces=st.lists(st.tuples(st.integers(0, 2**62), st.binary(max_size=40)), max_size=5).map(tuple),
    done_ns=st.none() | st.integers(0, 2**62),
    ending=st.sampled_from(get_args(Ending)),
    error=st.none() | st.text(max_size=20),
    retries=st.integers(0, 3),
    max_tokens=st.none() | st.integers(1, 10**7),
    timestamp_source=st.text(max_size=8),
    lags_ns=st.lists(st.integers(0, 2**62), max_size=5).map(tuple),
)


def whole(request_id: int = 0) -> Trace:
    return Trace(request_id, "measure", 0, 1, sent_ns=2, connect_s=0.0, status=200, pieces=((3, STREAM),), done_ns=4)


@given(st.lists(traces, max_size=6))
def test_traces_come_back_as_they_were_from_both_forms(tmp_path_factory, kept):
    folder = tmp_path_factory.mktemp("spool")
    spool = Spool(folder)
    for trace in kept:
        spool.add(trace)
    spool.close()
    assert list(read_spool(folder)) == kept
    to_parquet(kept, folder / "raw.parquet")
    assert list(one_by_one(from_parquet(folder / "raw.parquet"))) == kept


def test_a_finished_run_reads_back_with_its_tables_and_without_its_spool(folder):
    folder.add(whole())
    run = folder.finish(OtherSummary.model_validate({"completed": 1}))
    assert sorted(file.name for file in run.path.iterdir()) == [
        "events.parquet", "manifest.json", "raw.parquet", "requests.parquet", "summary.json",
    ]  # fmt: skip
    assert (run.manifest.status, run.summary.document()) == ("complete", {"completed": 1})
    assert run.manifest.schema_version == 2
    assert list(run.requests.outcome) == ["completed"]
    assert run.events.output.sum() == 1
    assert list(run.traces()) == [whole()]


def test_the_tables_can_be_made_again_from_the_raw(folder):
    folder.add(whole())
    run = folder.finish()
    before = run.requests, run.events
    for name in ("requests", "events"):
        (run.path / f"{name}.parquet").unlink()
    again = Run.load(run.path)
    assert again.requests.equals(before[0])
    assert again.events.equals(before[1])


WRITER = """
import sys, time
from pathlib import Path
from gptoss_bench.runs import RunFolder
from gptoss_client import Trace
folder = RunFolder.create(Path(sys.argv[1]), "test", parameters={}, run_id="killed")
body = sys.stdin.buffer.read()
for i in range(5):
    folder.add(Trace(i, "measure", 0, 1, sent_ns=2, status=200, pieces=((3, body),), done_ns=4))
print("written", flush=True)
time.sleep(60)
"""


def test_a_killed_writer_leaves_every_request_that_it_finished(tmp_path):
    with subprocess.Popen(
        [sys.executable, "-c", WRITER, str(tmp_path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as writer:
        writer.stdin.write(STREAM)
        writer.stdin.close()
        assert writer.stdout.readline() == b"written\n"
        os.kill(writer.pid, signal.SIGKILL)
    run = Run.load(tmp_path / "runs" / "killed")
    assert run.manifest.status == "incomplete"
    assert list(run.requests.request_id) == [0, 1, 2, 3, 4]
    assert set(run.requests.outcome) == {"completed"}


def test_a_line_torn_by_a_crash_is_left_out(folder):
    folder.add(whole(0))
    folder.add(whole(1))
    index = folder.path / "traces.jsonl"
    index.write_bytes(index.read_bytes()[:-9])
    assert list(Run.load(folder.path).requests.request_id) == [0]


def test_leaving_a_folder_unfinished_marks_it_incomplete_and_hides_no_error(tmp_path):
    with pytest.raises(ZeroDivisionError), RunFolder.create(tmp_path, "test", parameters={}) as folder:
        folder.add(whole())
        raise ZeroDivisionError("by zero")
    run = Run.load(folder.path)
    assert run.manifest.status == "incomplete"
    assert "by zero" in run.manifest.reason
    assert len(run.requests) == 1


def test_a_run_is_never_overwritten(tmp_path):
    RunFolder.create(tmp_path, "test", parameters={}, run_id="one").finish()
    with pytest.raises(UsageError, match="never overwritten"):
        RunFolder.create(tmp_path, "test", parameters={}, run_id="one")


def test_a_folder_that_cannot_be_made_is_reported(tmp_path):
    (tmp_path / "results").write_text("a file where the folder should be")
    with pytest.raises(UsageError, match="cannot write to"):
        RunFolder.create(tmp_path / "results", "test", parameters={})


def test_clock_steps_reach_the_manifest_also_of_a_load_that_was_stopped(folder, monkeypatch):
    for _ in range(2):
        with contextlib.suppress(KeyboardInterrupt), folder.counting_clock_steps():
            monkeypatch.setattr(WALL_CLOCK, "steps", WALL_CLOCK.steps + 1)
            raise KeyboardInterrupt
    assert folder.manifest.clock.steps == 2


def test_a_full_disk_is_reported_and_keeps_what_it_took(folder):
    folder.add(whole(0))
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, hard))  # as a disk with no space left for a larger file
    try:
        with pytest.raises(UsageError, match="File too large"):
            folder.finish(OtherSummary.model_validate({"completed": "x" * 200_000}))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    run = Run.load(folder.path)
    assert (run.manifest.status, len(run.requests)) == ("incomplete", 1)


@pytest.mark.parametrize("content", [None, "", "[]", '{"schema_version": 99, "status": "complete"}'])
def test_what_is_no_run_of_this_kit_is_refused_in_words(tmp_path, content):
    if content is not None:
        (tmp_path / "manifest.json").write_text(content)
    with pytest.raises(UsageError, match=r"not a readable run|newer kit"):
        Run.load(tmp_path)


def test_an_unknown_run_is_refused_with_the_nearest_ids(tmp_path):
    for run_id in ("20260101T000000Z-load-aaaaaa", "20260101T000000Z-load-bbbbbb"):
        RunFolder.create(tmp_path, "load", parameters={}, run_id=run_id).finish()
    with pytest.raises(UsageError, match=r"there is no run .*; nearest runs: 20260101T000000Z-load-bbbbbb, "):
        Run.load(tmp_path / "runs" / "20260101T000000Z-load-bbbbbc")
    with pytest.raises(UsageError, match=r"there is no run [^;]*$"):
        Run.load(tmp_path / "nowhere" / "x")


def test_a_run_of_the_results_folder_is_loaded_by_its_id_or_the_end_of_it(tmp_path, monkeypatch):
    run_id = "20260101T000000Z-load-aaaaaa"
    RunFolder.create(tmp_path, "load", parameters={}, run_id=run_id).finish()
    monkeypatch.setattr(paths, "RUNS", tmp_path / "runs")
    assert Run.load(run_id).run_id == Run.load("aaaaaa").run_id == run_id
    with pytest.raises(UsageError, match=f"there is no run bbbbbb; nearest runs: {run_id}"):
        Run.load("bbbbbb")
