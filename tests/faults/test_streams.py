"""A terminal that cannot show every character, a full or closed stdout or stderr: the run is whole, no traceback."""

import asyncio
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from faults import LONG, count
from gptoss_bench import paths
from gptoss_bench.runs.folder import Run
from scripted import scripted, speak
from serving import PATIENCE_S

KIT = [sys.executable, "-m", "gptoss_bench"]
FULL = Path("/dev/full")  # each write to it fails as on a full disk
# What a shell does with `command 2>&-`, and so on; the command follows.
REDIRECTIONS = {
    "stdout full": ">/dev/full",
    "stderr full": "2>/dev/full",
    "both full": ">/dev/full 2>/dev/full",
    "stdout closed": ">&-",
    "stderr closed": "2>&-",
    "all closed": "<&- >&- 2>&-",
    "a reader that has gone": "| true",
}
FEW = REDIRECTIONS if LONG else {name: REDIRECTIONS[name] for name in ("both full", "all closed")}
COMMANDS = ["report /nope", "--help", "runs", "load --url http://127.0.0.1:1 --model m"]
LATIN_1 = {"PYTHONIOENCODING": "latin-1:strict", "PYTHONUTF8": "0"}
C_LOCALE = {"LC_ALL": "C", "PYTHONCOERCECLOCALE": "0", "PYTHONUTF8": "0", "PYTHONIOENCODING": "ascii:strict"}
needs_full = pytest.mark.skipif(not FULL.exists(), reason="no /dev/full")


async def shell(command: str, environment: dict[str, str]) -> tuple[int, str, str]:
    process = await asyncio.create_subprocess_exec(
        "/bin/bash",
        "-o",
        "pipefail",
        "-c",
        command,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ | environment,
        cwd=paths.ROOT,
    )
    out, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
    assert process.returncode is not None
    return process.returncode, out.decode("latin-1"), err.decode("latin-1")


def loaded(
    results: Path, redirection: str = "", environment: dict[str, str] | None = None, prompt: str = "a"
) -> tuple[int, str, str]:
    async def run() -> tuple[int, str, str]:
        async with scripted(speak) as server:
            load = [*KIT, "load", "--url", server.endpoint.url, "--model", "m", "--prompt", f"'{prompt}'"]
            command = " ".join([*load, "--results", f"'{results}'", "-n", "4", "-c", "2", redirection])
            return await shell(command, environment or {})

    return asyncio.run(run())


@needs_full
@pytest.mark.parametrize("redirection", FEW.values(), ids=list(FEW))
def test_a_load_whose_output_nobody_takes_is_whole(tmp_path, redirection):
    _, out, err = loaded(tmp_path, redirection)
    assert "Traceback" not in out + err
    assert "Exception ignored" not in err
    count("loads with a full or closed stdout or stderr")
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    assert (run.manifest.status, run.summary.completed) == ("complete", 4)


@needs_full
def test_a_full_stdout_is_one_line_and_an_exit_code(tmp_path):
    code, _, err = loaded(tmp_path, ">/dev/full")
    assert (code, err.count("\n")) == (1, 1), err
    assert "No space left on device" in err


def test_a_terminal_that_cannot_show_a_character_shows_an_escape(tmp_path):
    results, prompt = tmp_path / "Ergebnisse → 日本", "Größe → 日本 \U0001f600"
    code, out, err = loaded(results, environment=LATIN_1, prompt=prompt)
    assert (code, err.count("Traceback")) == (0, 0), err
    assert "\\u65e5\\u672c" in out  # the path of the run folder
    [folder] = (results / "runs").iterdir()
    assert Run.load(folder).manifest.parameters["prompt"] == prompt


def test_a_locale_without_utf_8_is_enough_and_a_path_outside_of_it_is_one_line(tmp_path):
    assert loaded(tmp_path, environment=C_LOCALE)[0] == 0
    code, _, err = loaded(tmp_path / "日本", environment=C_LOCALE)
    assert (code, err.count("\n")) == (2, 1)
    assert "is not UTF-8: name another results folder" in err
    assert not list(tmp_path.glob("*/runs/*"))


@needs_full
@pytest.mark.parametrize("redirection", FEW.values(), ids=list(FEW))
@pytest.mark.parametrize("arguments", COMMANDS if LONG else COMMANDS[:1])
def test_no_command_shows_a_traceback(arguments, redirection, tmp_path):
    results = f"--results '{tmp_path}'" if arguments.startswith(("runs", "load")) else ""
    _, out, err = asyncio.run(shell(f"{' '.join(KIT)} {arguments} {results} {redirection}", {}))
    assert "Traceback" not in out + err
    assert "Exception ignored" not in err


def test_the_log_of_an_error_lies_in_the_results_folder_that_was_given(tmp_path):
    code, _, err = asyncio.run(
        shell(f"{' '.join(KIT)} load --url http://127.0.0.1:1 --model m --results '{tmp_path}'", {})
    )
    assert (code, err.count("\n")) == (2, 1)
    assert "nothing answers at" in (tmp_path / "gptoss_bench.log").read_text()
    run = tmp_path / "runs" / "a"
    run.mkdir(parents=True)
    (run / "manifest.json").write_text(json.dumps({"schema_version": 2}))
    code, _, err = asyncio.run(shell(f"{' '.join(KIT)} report '{run}'", {}))
    assert (code, err.count("\n")) == (2, 1)
    assert "report" in (tmp_path / "gptoss_bench.log").read_text()
    ours = paths.RESULTS / "gptoss_bench.log"  # tests beside this one may write to it, but never this folder's name
    assert not ours.exists() or str(tmp_path) not in ours.read_text()
