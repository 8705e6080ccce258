"""The command line: output, run folders, exit codes, and one line for bad input."""

import asyncio
import json
import os
import resource
import signal
import socket
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.runs.folder import Run
from scripted import Exchange, Scripted, scripted, speak
from serving import PATIENCE_S, wait_until

KIT = [sys.executable, "-m", "gptoss_bench"]


async def kit(
    *arguments: str, preexec=None, interrupt_when=None, number=signal.SIGINT, **environment: str
) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        *KIT,
        *arguments,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
        env={**os.environ, **environment},
        preexec_fn=preexec,
        cwd=paths.ROOT,
    )
    async with ended(process):
        if interrupt_when is not None:
            while not interrupt_when() and process.returncode is None:
                await asyncio.sleep(0.02)
            process.send_signal(number)
        out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    return process.returncode, out.decode(), err.decode()


@asynccontextmanager
async def ended(process: asyncio.subprocess.Process) -> AsyncIterator[None]:
    """Kill a process that a failing test has left."""
    try:
        yield
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()


def kit_here(capsys: pytest.CaptureFixture[str], *arguments: str) -> tuple[int, str, str]:
    """Run a command in this process, which has imported what it needs; the result is as that of `kit`."""
    capsys.readouterr()
    code = main(arguments)
    return code, *capsys.readouterr()


def refused(result: tuple[int, str, str], words: str) -> None:
    code, _, err = result
    assert code == 2, err
    *progress, last = err.strip().splitlines()
    assert all(line.startswith("[1/1] ") for line in progress), err  # `run` prints one every 10 s
    assert words in last


def load(server: Scripted, tmp_path: Path, *more: str, **environment):
    where = ("--url", server.endpoint.url, "--model", "m", "--results", str(tmp_path))
    return kit("load", *where, *more, **environment)


def only_run(tmp_path: Path) -> Run:
    [folder] = (tmp_path / "runs").iterdir()
    return Run.load(folder)


def test_a_load_prints_the_block_and_leaves_a_run_folder(tmp_path):
    async def run():
        async with scripted(speak) as server:
            return await load(server, tmp_path, "-n", "12", "-c", "3", "--warmup", "2", "--max-tokens", "9")

    code, out, err = asyncio.run(run())
    assert code == 0, err
    for words in ("Total wall-clock time", "Requests / second", "TTFT (s)", "run folder: "):
        assert words in out
    found = only_run(tmp_path)
    assert str(found.path) in out
    assert (found.manifest.status, found.summary.completed, len(found.requests)) == ("complete", 12, 14)
    assert found.manifest.parameters["max_tokens"] == 9


def test_a_load_prints_json_one_line_per_run(tmp_path):
    async def run():
        async with scripted(speak) as server:
            return await load(server, tmp_path, "-n", "4", "-c", "2", "--connect-timeout", "7", "--json")

    code, out, err = asyncio.run(run())
    assert code == 0, err
    [line] = out.splitlines()
    shown, found = json.loads(line), only_run(tmp_path)
    assert (shown["run"], shown["run_folder"]) == (found.run_id, str(found.path))
    assert shown["summary"] == json.loads((found.path / "summary.json").read_bytes())
    assert shown["findings"] == json.loads((found.path / "lint.json").read_bytes())
    assert json.loads((found.path / "manifest.json").read_bytes())["parameters"]["connect_timeout_s"] == 7.0


def test_a_duration_instead_of_a_number_of_requests(tmp_path):
    async def run():
        async with scripted(speak) as server:
            return await load(server, tmp_path, "--duration", "0.5", "-c", "2")

    code, _, err = asyncio.run(run())
    assert code == 0, err
    assert only_run(tmp_path).summary.completed >= 2


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--concurrency", "0"), "--concurrency must be 1 or more"),
        (("--concurrency", "-4"), "concurrency must be 1 or more"),
        (("--concurrency", "many"), "--concurrency 'many' is not a whole number"),
        (("--requests", "0"), "requests must be 1 or more"),
        (("--duration", "-1"), "--duration must be a number of seconds above 0"),
        (("--duration", "nan"), "--duration must be a number of seconds above 0"),
        (("--duration", "5", "--requests", "5"), "not both"),
        (("--max-tokens", "0"), "--max-tokens must be 1 or more"),
        (("--prompt", ""), "the prompt is empty"),
        (("--no-such-option",), "there is no option --no-such-option"),
        (("--url", "127.0.0.1:8000"), "http://HOST:PORT"),
        (("--url", "ftp://127.0.0.1"), "http://HOST:PORT"),
        (("--url", "http://127.0.0.1:1", "--url", "ftp://127.0.0.1"), "lacks http:// or https://"),
        (("--url", "http://me:secret@127.0.0.1:1"), "user or password"),
        (("--url", "http://127.0.0.1:1"), "nothing answers at http://127.0.0.1:1"),
        (("--url", "http://no-such-host.invalid"), "nothing answers at http://no-such-host.invalid"),
    ],
)
def test_bad_input_is_refused_in_one_line(tmp_path, capsys, arguments, words):
    result = kit_here(capsys, "load", "--model", "m", "--results", str(tmp_path), *arguments)
    refused(result, words)
    assert "secret" not in result[2]
    assert not (tmp_path / "runs").exists()


def test_a_file_with_other_columns_is_refused_by_their_names(tmp_path, capsys):
    (tmp_path / "prompts.jsonl").write_text('{"prompt": "a", "output_tokens": 8}\n')
    result = kit_here(capsys, "load", "--replay", str(tmp_path / "prompts.jsonl"), "--results", str(tmp_path))
    refused(result, "line 1 has no time: name its column timestamp or timestamp_s or timestamp_ms, not prompt, output_")


def test_each_mistake_of_a_claims_file_is_a_line(tmp_path, capsys):
    file = tmp_path / "mine.yaml"
    file.write_text(paths.CLAIMS.read_text().replace("unit: GB", "unit: Gb"))
    code, _, err = kit_here(capsys, "audit", str(file))
    lines = err.splitlines()
    assert code == 2 and len(lines) > 1
    assert all(line.startswith("gptoss_bench: mine.yaml: claim C") and "unit is 'Gb'" in line for line in lines)


def test_a_model_that_the_server_does_not_name_is_refused_with_those_it_names(tmp_path):
    async def run():
        async with scripted(speak) as server:
            server.documents["/v1/models"] = {"data": [{"id": "gpt-oss-20b"}]}
            return await load(server, tmp_path)

    refused(asyncio.run(run()), "gpt-oss-20b")


def test_a_server_that_answers_with_a_web_page_is_refused(tmp_path):
    async def page(exchange: Exchange) -> None:
        text = b"<!doctype html><title>Welcome</title>"
        await exchange.send(
            b"HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: %d\r\n\r\n" % len(text), text
        )

    async def run():
        async with scripted(page) as server:
            return await load(server, tmp_path)

    refused(asyncio.run(run()), "Welcome")


def test_a_server_that_only_serves_chat_is_enough(tmp_path):
    async def run():
        async with scripted(speak) as server:
            server.hangs_up_on_get = True
            return await load(server, tmp_path, "-n", "2", "-c", "1")

    code, _, err = asyncio.run(run())
    assert code == 0, err


def test_a_results_folder_that_cannot_be_written_is_refused(tmp_path):
    (tmp_path / "file").write_text("no folder")

    async def run():
        async with scripted(speak) as server:
            return await load(server, tmp_path / "file", "-n", "2")

    refused(asyncio.run(run()), "cannot write to")


def test_a_disk_that_fills_up_is_one_line_and_what_was_written_is_kept(tmp_path):
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (6000, 6000))  # of one file; the kernel refuses what goes beyond

    async def run():
        async with scripted(speak) as server:
            return await load(server, tmp_path, "-n", "60", "-c", "2", preexec=limit)

    refused(asyncio.run(run()), "File too large")
    found = only_run(tmp_path)
    assert found.manifest.status == "incomplete"
    assert len(found.requests) >= 2
    assert set(found.requests.outcome) == {"completed"}


def test_a_server_that_dies_in_mid_run_ends_it_as_incomplete_with_everything_kept(tmp_path):
    async def run():
        async def die(exchange: Exchange) -> None:
            if exchange.number == 12:
                server.die()
                return
            await asyncio.sleep(0.01)
            await speak(exchange)

        async with scripted(die) as server:
            return await load(server, tmp_path, "-n", "30", "-c", "2")

    code, out, err = asyncio.run(run())
    assert code == 1
    assert "Traceback" not in err
    assert "stopped answering" in err
    assert "failed" in out
    found = only_run(tmp_path)
    assert found.manifest.status == "incomplete"
    assert sorted(found.requests.request_id) == list(range(30))
    assert found.summary.completed >= 8
    assert found.summary.completed + found.summary.failed == 30


def test_ctrl_c_keeps_completed_requests(tmp_path):
    async def run():
        async def slowly(exchange: Exchange) -> None:
            await asyncio.sleep(0.1)
            await speak(exchange)

        async with scripted(slowly) as server:
            return await load(server, tmp_path, "-n", "500", "-c", "2", interrupt_when=lambda: len(server.requests) > 6)

    code, _, err = asyncio.run(run())
    assert code == 1
    assert "Traceback" not in err
    found = only_run(tmp_path)
    assert found.manifest.status == "incomplete"
    assert len(found.requests) == 500
    assert found.requests.outcome.value_counts()["completed"] >= 2


def test_the_key_is_sent_and_lands_nowhere(tmp_path):
    key = "sk-a-very-secret-key"

    async def run():
        async with scripted(speak) as server:
            result = await load(server, tmp_path, "-n", "2", GPTOSS_API_KEY=key)
            return result, server.requests

    (code, out, err), requests = asyncio.run(run())
    assert code == 0
    assert all(key.encode() in head for head, _ in requests)
    kept = b"".join(file.read_bytes() for file in only_run(tmp_path).path.iterdir())
    assert key not in out + err
    assert key.encode() not in kept


@pytest.mark.parametrize(
    ("content", "more", "words"),
    [
        ("concurency: 4", (), "did you mean 'concurrency'?"),
        ("concurrency: four", (), "concurrency is 'four'; it has to be a whole number"),
        ("concurrency: 4", ("-p", "max_token=1"), "did you mean 'max_tokens'?"),
        ("concurrency: 4", ("-p", "max_tokens"), "NAME=VALUE"),
        ("concurrency: 4", ("vllm_h10",), "did you mean 'vllm_h100'?"),
        ("concurrency: 0", ("vllm_h100",), "concurrency must be 1 or more"),
        ("slo: ttfs=1s", ("capacity",), "'ttfs=1s' is not one of ttft, tpot and e2e"),
    ],
)
def test_a_profile_that_does_not_fit_is_refused_in_one_line(tmp_path, capsys, content, more, words):
    profile = tmp_path / "mine.yaml"
    profile.write_text(content)
    refused(kit_here(capsys, "run", "--profile", str(profile), "--results", str(tmp_path), *more), words)


@pytest.mark.alone  # other tests need the file that it hides
def test_a_missing_tiny_model_is_reported_with_the_command_that_makes_it(tmp_path):
    hidden = paths.TINY_MODEL.with_suffix(".hidden")
    paths.TINY_MODEL.rename(hidden)
    try:
        where = ("--profile", str(paths.PROFILES / "smoke.yaml"), "--results", str(tmp_path))
        result = asyncio.run(kit("run", *where, "vllm_h100"))
    finally:
        hidden.rename(paths.TINY_MODEL)
    refused(result, "make model")


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_a_notebook_run_that_is_stopped_leaves_no_server_and_keeps_completed_requests(tmp_path, number):
    async def run() -> tuple[int, str]:
        where = ("--profile", str(paths.PROFILES / "smoke.yaml"), "--results", str(tmp_path))
        more = ("-p", "requests=100000", "-p", "concurrency=2", "vllm_h100")
        process = await asyncio.create_subprocess_exec(
            *KIT,
            "run",
            *where,
            *more,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            cwd=paths.ROOT,
        )
        async with ended(process):
            while not any(file.read_text().count('"measure"') > 3 for file in tmp_path.glob("runs/*/traces.jsonl")):
                assert process.returncode is None
                await asyncio.sleep(0.1)
            process.send_signal(number)
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
        return process.returncode, err.decode()

    code, err = asyncio.run(run())
    found = only_run(tmp_path)
    address = found.manifest.endpoint.url.removeprefix("http://").split(":")
    if number != signal.SIGKILL:
        completed = int(found.requests.outcome.eq("completed").sum())
        told = f"gptoss_bench: stopped in vllm_h100.ipynb; completed requests were saved: {completed}"
        *progress, last = err.splitlines()
        assert code == 1 and all(line.startswith("[1/1] vllm_h100 ") for line in progress), err
        assert last.startswith(told) and f". Read them with `gptoss-bench report {found.run_id}`; " in last
    else:
        assert code == -signal.SIGKILL
    wait_until(lambda: not listens(*address), "the server had ended")
    if number == signal.SIGKILL:
        assert not only_run(tmp_path).finished
        assert main(["rebuild", str(found.path)]) == 0
    found = only_run(tmp_path)
    assert (found.finished, found.manifest.status) == (True, "incomplete")
    assert found.manifest.reason.startswith("killed" if number == signal.SIGKILL else "stopped before its end")
    assert found.requests.outcome.value_counts()["completed"] >= 2
    assert found.summary.completed >= 2
    assert not (found.path / "traces.jsonl").exists()


def listens(host: str, port: str) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex((host, int(port))) == 0
