"""`load --workers` and `--fleet`: what is refused, what a terminal shows, how it is stopped, and what reads the run."""

import asyncio
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from fleets import fleet_run, slowly, worker_pid
from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_bench.runs.folder import Run
from gptoss_client.plan import LoadPlan
from scripted import Answer, Scripted, scripted
from serving import PATIENCE_S, below, wait_until, wait_until_gone

NOWHERE = "http://127.0.0.1:9"
PLAN = LoadPlan(concurrency=4, requests=24, warmup=2, prompts="distinct", salt=3)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--workers", "0"], "workers must be a whole number from 1 to 1024 or 'auto', not '0'"),
        (["--workers", "2.5"], "workers must be a whole number from 1 to 1024 or 'auto', not '2.5'"),
        (["--workers", "-1"], "workers must be a whole number from 1 to 1024 or 'auto', not '-1'"),
        (["--workers", "²"], "workers must be a whole number from 1 to 1024 or 'auto', not '²'"),
        (["--workers", "1025"], "workers must be a whole number from 1 to 1024 or 'auto', not '1025'"),
        (["--workers", "3", "-c", "2"], "3 workers need as many slots, not 2: use 2 workers at most"),
        (["--workers", "3", "-n", "2"], "3 workers need a request each, not 2 in all: use 2 workers at most"),
        (["--workers", "2", "--sweep", "1,2"], "a sweep is sent by one process: give workers or sweep, not both"),
        (["--fleet", "head:8786"], "fleet must be dask://host:port of a Dask scheduler, not 'head:8786'"),
        (
            ["--workers", "2", "--fleet", "dask://head:8786"],
            "a fleet has as many workers as the cluster: give workers or fleet, not both",
        ),
    ],
)
def test_what_cannot_be_sent_is_refused_in_one_line_and_leaves_no_run(tmp_path, capsys, arguments, sentence):
    code = main(["load", "--url", NOWHERE, "--model", "m", "--results", str(tmp_path), *arguments])
    assert (code, capsys.readouterr().err) == (2, f"gptoss_bench: {sentence}\n")
    assert not (tmp_path / "runs").exists()


def test_auto_asks_the_server_and_says_that_it_is_not_there(tmp_path, capsys):
    code = main(["load", "--url", NOWHERE, "--model", "m", "--results", str(tmp_path), "--workers", "auto"])
    assert code == 2 and NOWHERE in capsys.readouterr().err
    assert not (tmp_path / "runs").exists()


def test_a_fleet_without_its_extra_says_what_to_install(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(sys.modules, "distributed", None)
    code = main(["load", "--url", NOWHERE, "--results", str(tmp_path), "--fleet", "dask://127.0.0.1:9"])
    wanted = "the package distributed is not installed: pip install 'gptoss-bench[scale]'"
    assert (code, capsys.readouterr().err) == (2, f"gptoss_bench: {wanted}\n")


def test_a_scheduler_that_does_not_answer_is_refused(tmp_path, capsys):
    pytest.importorskip("distributed", reason="distributed is not installed: pip install '.[scale]'")
    code = main(["load", "--url", NOWHERE, "--results", str(tmp_path), "--fleet", "dask://127.0.0.1:9"])
    assert code == 2 and "no Dask scheduler answers at dask://127.0.0.1:9" in capsys.readouterr().err


async def loading(results: Path, server: Scripted, **streams: int) -> tuple[asyncio.subprocess.Process, Path]:
    """Start a long load of two workers that heeds Ctrl-C; return its process and its folder when both send."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "gptoss_bench", "load", "--model", "m", "--url", server.endpoint.url),
        *("--results", str(results), "-n", "5000", "-c", "4", "--workers", "2"),
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler),
        cwd=paths.ROOT,
        env=os.environ | {"TERM": "xterm", "COLUMNS": "120"},
        **streams,
    )

    def both_send() -> bool:
        files = list(results.glob("runs/*/shards/*/traces.jsonl"))
        return len(files) == 2 and all(file.stat().st_size > 0 for file in files)

    await asyncio.to_thread(wait_until, both_send, "both workers sent")
    [folder] = (results / "runs").iterdir()
    return process, folder


def test_ctrl_c_stops_all_workers_and_says_what_is_kept(tmp_path, capsys):
    async def stop(answer: Answer) -> tuple[int, str, Path]:
        async with scripted(answer) as server:
            streams = {"stdout": subprocess.DEVNULL, "stderr": subprocess.PIPE}
            process, folder = await loading(tmp_path, server, **streams)
            workers = below(process.pid, 2)
            process.send_signal(signal.SIGINT)
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            await asyncio.to_thread(wait_until_gone, workers)
            return process.returncode, err.decode(), folder

    code, err, folder = asyncio.run(stop(slowly))
    assert code == 1 and "Traceback" not in err
    run = Run.load(folder)
    assert run.finished and run.manifest.status == "incomplete"
    completed = int((run.requests.outcome == "completed").sum())
    assert completed > 0 and "completed requests were saved" in err.splitlines()[-1], err
    assert not (folder / "workers.json").exists()
    for command in ("report", "lint"):
        assert main([command, str(folder)]) in (0, 3)
    assert main(["rebuild", "--check", str(folder)]) == 0


def test_a_terminal_has_a_row_per_worker_and_shows_at_once_which_one_is_lost(tmp_path):
    async def kill() -> str:
        ours, theirs = os.openpty()
        shown = bytearray()

        def read() -> None:
            while True:
                try:
                    shown.extend(os.read(ours, 65536))
                except OSError:  # the other end is closed
                    return

        async with scripted(slowly) as server:
            process, folder = await loading(tmp_path, server, stdout=subprocess.DEVNULL, stderr=theirs)
            os.close(theirs)
            reading = asyncio.ensure_future(asyncio.to_thread(read))
            await asyncio.to_thread(wait_until, lambda: shown.count(b"sending") >= 2, "the rows were shown")
            os.kill(worker_pid(folder, 1), signal.SIGKILL)
            await asyncio.to_thread(wait_until, lambda: b"lost: its process ended" in shown, "the loss was shown")
            process.send_signal(signal.SIGINT)
            await asyncio.wait_for(process.wait(), PATIENCE_S)
            await asyncio.wait_for(reading, PATIENCE_S)
            os.close(ours)
            return shown.decode(errors="replace")

    text = asyncio.run(kill())
    for column in ("worker", "requests", "failed", "in flight", "tokens/s", "last answer", "state"):
        assert column in text


@pytest.fixture(scope="module")
def merged(tmp_path_factory) -> Run:
    """A complete run of two workers."""
    run, _ = asyncio.run(fleet_run(tmp_path_factory.mktemp("merged"), PLAN, LocalFleet(2)))
    assert run.manifest.status == "complete"
    return run


def test_a_merged_run_can_be_read_by_every_command(merged, tmp_path, capsys):
    folder, results = str(merged.path), ["--results", str(merged.path.parents[1])]
    assert main(["report", folder, "--out", str(tmp_path / "report")]) == 0
    page = next((tmp_path / "report").glob("*.md")).read_text()
    assert merged.run_id in page and "sent by 2 workers" in page
    capsys.readouterr()
    assert main(["lint", folder, "--json"]) in (0, 3)
    assert json.loads(capsys.readouterr().out)
    assert main(["compare", folder, folder]) == 0
    capsys.readouterr()
    assert main(["verify", folder]) in (0, 3)  # the scripted server has no version
    assert "refused: raw bytes" not in capsys.readouterr().out
    assert main(["runs", *results]) == 0
    assert merged.run_id in capsys.readouterr().out
    assert main(["site", merged.run_id, *results, "--out", str(tmp_path / "site")]) == 0
    assert any(merged.run_id in file.read_text() for file in (tmp_path / "site").rglob("*.html"))
