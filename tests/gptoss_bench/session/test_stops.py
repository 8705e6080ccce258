"""Every way to stop ends in a readable run: signals, kills, a deleted folder, a broken folder beside it."""

import asyncio
import json
import os
import re
import shutil
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.phases import PHASE_BEFORE, PHASE_INFERENCE, PHASE_WARMUP
from gptoss_bench.session.evaluate import finish_interrupted
from gptoss_bench.session.session import serving
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from scripted import Exchange, Scripted, scripted, speak
from serving import PATIENCE_S, wait_until
from streams import chat

LOAD = [sys.executable, "-m", "gptoss_bench", "load", "--model", "m"]
PLAN = LoadPlan(concurrency=2, requests=12)
REQUESTS = 500


async def slowly(exchange: Exchange) -> None:
    await asyncio.sleep(0.05)
    await speak(exchange)


async def stopped_load(results: Path, stop: Any, *more: str, preexec: Any = None) -> tuple[int, str, Run]:
    """Start a load, let a few of its requests end, call `stop` with its process, and return how it ended."""
    async with scripted(slowly) as server:
        command = [
            *LOAD,
            "--url",
            server.endpoint.url,
            "--results",
            str(results),
            "-n",
            str(REQUESTS),
            "-c",
            "2",
            *more,
        ]
        process = await asyncio.create_subprocess_exec(
            *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, preexec_fn=preexec, cwd=paths.ROOT
        )
        try:
            await asyncio.to_thread(wait_until, lambda: len(server.requests) > 6, "requests had ended")
            stop(process)
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    [folder] = (results / "runs").iterdir()
    return process.returncode, err.decode(), Run.load(folder)


def heed_signals() -> None:
    """Do what a terminal does; these tests may run under nohup or in the background of a script."""
    for number in (signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_DFL)


def ignore_interrupts() -> None:
    """Do what a shell does for a background job of a script."""
    heed_signals()
    signal.signal(signal.SIGINT, signal.SIG_IGN)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
@pytest.mark.parametrize("preexec", [heed_signals, ignore_interrupts], ids=["foreground", "background"])
def test_a_signal_ends_a_load_as_ctrl_c_does_and_the_run_names_it(tmp_path, number, preexec):
    code, err, run = asyncio.run(stopped_load(tmp_path, lambda load: load.send_signal(number), preexec=preexec))
    *progress, last = err.splitlines()
    assert code == 1 and last.startswith("gptoss_bench: stopped; completed requests were saved: "), err
    assert last.endswith(f"Read them with `gptoss-bench report {run.run_id}`"), err
    assert all(line.split()[0].replace(":", "").isdigit() for line in progress), err
    reason = "stopped before its end" + ("" if number == signal.SIGINT else f" by {number.name}")
    assert (run.finished, run.manifest.status, run.manifest.reason) == (True, "incomplete", reason)
    assert sorted(run.requests.request_id) == list(range(REQUESTS + 0))
    assert run.summary.completed == run.requests.outcome.eq("completed").sum() >= 2
    assert {"host.parquet", "lint.json"} <= {file.name for file in run.path.iterdir()}
    assert not (run.path / "telemetry.jsonl").exists()
    assert main(["rebuild", "--check", str(run.path)]) == 0


def test_a_signal_that_nohup_ignores_stays_ignored(tmp_path):
    def nohup() -> None:
        signal.signal(signal.SIGHUP, signal.SIG_IGN)

    def stop(load: Any) -> None:
        load.send_signal(signal.SIGHUP)
        [folder] = (tmp_path / "runs").iterdir()
        listed = (folder / "traces.jsonl").stat().st_size
        wait_until(lambda: (folder / "traces.jsonl").stat().st_size > listed, "the load goes on")
        load.send_signal(signal.SIGTERM)

    # The wait is within the loop of the server: it needs a thread of its own.
    async def run() -> tuple[int, str, Run]:
        loop = asyncio.get_running_loop()
        return await stopped_load(tmp_path, lambda load: loop.run_in_executor(None, stop, load), preexec=nohup)

    code, _, run_ = asyncio.run(run())
    assert (code, run_.manifest.reason) == (1, "stopped before its end by SIGTERM")


def test_a_killed_load_is_finished_from_its_spool_request_by_request(tmp_path, capsys):
    code, _, killed = asyncio.run(stopped_load(tmp_path, lambda load: load.kill(), "--warmup", "2"))
    assert code == -signal.SIGKILL
    assert (killed.finished, killed.manifest.status) == (False, "incomplete")
    assert "`gptoss-bench rebuild` finishes" in killed.manifest.reason
    had_ended, ended_events = killed.requests, killed.events
    assert len(had_ended) >= 2
    assert main(["rebuild", "--check", str(killed.path)]) == 2
    assert main(["rebuild", str(killed.path)]) == 0
    assert "manifest.json: written" in capsys.readouterr().out
    run = Run.load(killed.path)
    assert run.requests.equals(had_ended)
    assert run.events.equals(ended_events)
    assert (run.finished, run.manifest.status) == (True, "incomplete")
    assert run.manifest.reason == "killed before its end: finished later from the requests that had ended"
    assert run.summary.completed == had_ended.outcome.eq("completed").sum() - had_ended.phase.eq("warmup").sum()
    assert len(run.table("host")) and set(run.summary.telemetry.host.by_phase) <= {
        PHASE_BEFORE, PHASE_WARMUP, PHASE_INFERENCE,
    }  # fmt: skip
    assert {file.name for file in run.path.iterdir()}.isdisjoint({"raw.bin", "traces.jsonl", "telemetry.jsonl"})
    assert main(["rebuild", "--check", str(run.path)]) == 0


def test_damaged_lines_of_a_killed_run_are_left_out_and_counted(folder):
    for number in range(4):
        folder.add(chat(10, 20, 3, number))
    index = folder.path / "traces.jsonl"
    lines = index.read_bytes().splitlines(keepends=True)
    lines[1] = lines[1].replace(b'"sizes":[', b'"sizes":{', 1)
    lines[2] = lines[2].replace(b'"offset":', b'"offset":9', 1)  # behind the end of raw.bin
    index.write_bytes(b"".join(lines) + b'{"request_id":9')
    folder._spool.close()  # as the system does for a process that dies
    run = finish_interrupted(folder.path)
    assert list(run.requests.request_id) == [0, 3]
    assert run.manifest.reason.endswith("; 2 damaged lines of its spool left out")
    assert finish_interrupted(folder.path).manifest == run.manifest  # a finished run stays as it is


def test_a_run_that_goes_on_is_not_finished_by_another_process(folder):
    folder.add(chat(10, 20, 3))
    source = "import sys; from gptoss_bench.session import finish_interrupted; finish_interrupted(sys.argv[1])"
    other = [sys.executable, "-c", source.replace("sys.argv[1]", "__import__('pathlib').Path(sys.argv[1])")]
    done = subprocess.run([*other, str(folder.path)], capture_output=True, text=True, check=False)
    assert "is still running: stop it first" in done.stderr
    assert (folder.path / "raw.bin").exists()


async def measure(results: Path, server: Scripted, plan: LoadPlan = PLAN, during: Any = None) -> Run:
    choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
    async with serving("test", choice, plan=plan, results_dir=str(results)) as session:
        beside = asyncio.create_task(after_a_request(session.folder.path, during))
        await session.load(plan)
        await beside
        return session.finish()


async def after_a_request(folder: Path, action: Any) -> None:
    if action is None:
        return
    while not (folder / "traces.jsonl").stat().st_size:
        await asyncio.sleep(0.01)
    action(folder)


@pytest.mark.parametrize("how", ["deleted", "moved"])
def test_a_folder_that_goes_in_mid_run_ends_the_load_at_once(tmp_path, how):
    async def hang(exchange: Exchange) -> None:
        await asyncio.sleep(PATIENCE_S)

    async def run() -> None:
        async with scripted(speak) as server:

            def go(path: Path) -> None:
                server.answer = hang  # nothing ends any more: no write of the load can notice it
                shutil.rmtree(path) if how == "deleted" else path.rename(tmp_path / "elsewhere")

            async with asyncio.timeout(PATIENCE_S / 2):
                await measure(tmp_path, server, replace(PLAN, requests=100_000), go)

    with pytest.raises(UsageError, match=r"the run folder .* was deleted or moved during the load"):
        asyncio.run(run())
    if how == "moved":
        assert finish_interrupted(tmp_path / "elsewhere").summary.completed > 0


def test_the_samples_are_on_disk_before_the_run_says_that_it_is_complete(tmp_path):
    async def run() -> None:
        async with scripted(speak) as server:
            await measure(tmp_path, server, during=lambda path: (path / "host.parquet").mkdir())

    with pytest.raises(UsageError, match="cannot write to"):
        asyncio.run(run())
    [folder] = (tmp_path / "runs").iterdir()
    assert Run.load(folder).manifest.status == "incomplete"


def test_the_reason_is_that_of_the_error_and_not_that_it_was_stopped(tmp_path):
    async def run() -> None:
        async with scripted(speak) as server:
            await measure(tmp_path, server, replace(PLAN, concurrency=10**6))

    with pytest.raises(UsageError, match="open files"):
        asyncio.run(run())
    [folder] = (tmp_path / "runs").iterdir()
    assert "1000000 connections need" in Run.load(folder).manifest.reason


BROKEN = {
    "empty": "",
    "cut": "{",
    "a list": "[]",
    "newer": '{"schema_version": 99, "run_id": "x", "scenario": "calibration", "status": "complete"}',
    "schema as text": '{"schema_version": "2", "run_id": "x", "scenario": "calibration", "status": "complete"}',
    "no status": '{"schema_version": 2, "run_id": "x", "scenario": "calibration"}',
    "endpoint as text": '{"schema_version": 1, "run_id": "x", "scenario": "a", "status": "complete", "endpoint": "x"}',
    "scenario as list": '{"schema_version": 1, "run_id": "x", "scenario": ["a"], "status": "complete"}',
    "deep": '{"a":' * 5000,
    "not UTF-8": b'{"run_id": "\xff"}',
}


def test_broken_folders_are_left_out_and_named_and_stop_no_new_run(tmp_path, capsys, caplog):
    for name, content in BROKEN.items():
        folder = tmp_path / "runs" / f"x-calibration-{re.sub(' ', '-', name)}"
        folder.mkdir(parents=True)
        (folder / "manifest.json").write_bytes(content if isinstance(content, bytes) else content.encode())

    async def run() -> Run:
        async with scripted(speak) as server:
            return await measure(tmp_path, server)

    new = asyncio.run(run())
    assert new.manifest.status == "complete"
    for name in BROKEN:
        assert f"x-calibration-{re.sub(' ', '-', name)}" in caplog.text
    assert main(["runs", "--results", str(tmp_path), "--json"]) == 0
    listed = {row["run"]: row["status"] for row in json.loads(capsys.readouterr().out)}
    assert listed.pop(new.run_id) == "complete"
    assert len(listed) == len(BROKEN)
    assert all(status.startswith("not readable: ") for status in listed.values()), listed


def test_eight_writers_of_one_run_id_make_one_run(tmp_path):
    source = """
import sys, threading
from pathlib import Path
from gptoss_bench.runs import RunFolder
from gptoss_client import UsageError
made, refused, begin = [], [], threading.Barrier(8)
def create():
    begin.wait()
    try:
        made.append(RunFolder.create(Path(sys.argv[1]), "test", parameters={}, run_id="one"))
    except UsageError as error:
        refused.append(str(error))
threads = [threading.Thread(target=create) for _ in range(8)]
for thread in threads: thread.start()
for thread in threads: thread.join()
print(len(made), len(refused), refused[0])
"""
    done = subprocess.run([sys.executable, "-c", source, str(tmp_path)], capture_output=True, text=True, check=True)
    assert done.stdout.startswith("1 7 run one exists: a run is never overwritten")


def test_a_finished_folder_is_not_taken_again_by_a_late_writer(tmp_path):
    RunFolder.create(tmp_path, "test", parameters={}, run_id="one").finish()
    with pytest.raises(UsageError, match="never overwritten"):
        RunFolder.create(tmp_path, "test", parameters={}, run_id="one")
    assert not (tmp_path / "runs" / "one" / "raw.bin").exists()


def test_no_file_of_a_run_gets_the_number_of_a_closed_stream(tmp_path):
    """What a library writes to stderr would go into the raw data."""

    def close_streams() -> None:
        for descriptor in (0, 1, 2):
            os.close(descriptor)

    async def run() -> int:
        async with scripted(speak) as server:
            command = [*LOAD, "--url", server.endpoint.url, "--results", str(tmp_path), "-n", "4", "-c", "2"]
            process = await asyncio.create_subprocess_exec(*command, preexec_fn=close_streams, cwd=paths.ROOT)
            return await asyncio.wait_for(process.wait(), PATIENCE_S)

    assert asyncio.run(run()) == 0
    [folder] = (tmp_path / "runs").iterdir()
    assert Run.load(folder).summary.completed == 4


def test_a_client_that_was_suspended_does_not_call_its_own_sleep_a_timeout(tmp_path):
    """The responses lay in the sockets while it slept for longer than the timeout."""

    async def run() -> tuple[int, Run]:
        async def answer(exchange: Exchange) -> None:
            await asyncio.sleep(0.3)
            await speak(exchange)

        async with scripted(answer) as server:
            where = ("--url", server.endpoint.url, "--results", str(tmp_path))
            process = await asyncio.create_subprocess_exec(
                *LOAD, *where, "-n", "40", "-c", "4", "--timeout", "3", cwd=paths.ROOT, stdout=subprocess.DEVNULL
            )
            try:
                await asyncio.to_thread(wait_until, lambda: len(server.requests) > 8, "requests are in flight")
                process.send_signal(signal.SIGSTOP)
                await asyncio.sleep(4)
                process.send_signal(signal.SIGCONT)
                code = await asyncio.wait_for(process.wait(), PATIENCE_S)
            finally:
                if process.returncode is None:
                    process.kill()
                    await process.wait()
        [folder] = (tmp_path / "runs").iterdir()
        return code, Run.load(folder)

    code, found = asyncio.run(run())
    assert code == 0
    assert set(found.requests.outcome) == {"completed"}, found.requests.error.dropna().unique()
