"""Any OpenAI-compatible server by its address: the target, its profile and the notebook, against a real server."""

import subprocess

import nbformat
import pytest

from gptoss_bench import paths
from gptoss_bench.cli.main import main
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.runs.folder import Run
from serving import held

PROFILE = ["run", "--profile", str(paths.PROFILES / "endpoint.yaml")]


@pytest.fixture(scope="module")
def tiny(tmp_path_factory):
    with held(serve_tiny(tmp_path_factory.mktemp("tiny"), slots=2)) as endpoint:
        yield endpoint


def make(*words: str, ready) -> subprocess.CompletedProcess[str]:
    ready.touch()
    command = ["make", f"READY={ready}", *words]
    return subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=False)


def test_without_an_address_the_target_prints_what_to_type(tmp_path):
    done = make("run-endpoint", ready=tmp_path / "ready")
    assert done.returncode == 2
    assert "run-endpoint: no server given: make run-endpoint URL=http://HOST:PORT [MODEL=NAME]" in done.stdout


@pytest.mark.parametrize("target", ["run-endpoint", "run-h100"])
def test_address_and_model_of_the_command_line_reach_the_notebook(tmp_path, target):
    done = make("-n", target, "URL=http://h:1", "MODEL=openai/gpt-oss-120b", ready=tmp_path / "ready")
    assert "-p 'url=http://h:1' -p 'model=openai/gpt-oss-120b'" in done.stdout


def test_the_notebook_measures_whatever_answers_there(tmp_path, capsys, tiny):
    small = ["requests=6", "concurrency=2", "warmup=2", "max_tokens=64", f"url={tiny.url}"]
    pairs = [word for pair in small for word in ("-p", pair)]
    assert main([*PROFILE, *pairs, "--results", str(tmp_path), "endpoint"]) == 0
    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    shown = capsys.readouterr().out
    assert "TTFT (s)" in shown and (folder / "notebook.html").as_uri() in shown and "C47" not in shown
    first = nbformat.read(folder / "notebook.ipynb", as_version=4).cells[0].source
    assert first.startswith(f"# {tiny.model} at {tiny.url}\n\n> **TINY MODEL: ")
    assert run.manifest.status == "complete"
    assert (run.manifest.endpoint.engine, run.manifest.endpoint.model) == ("llama.cpp", tiny.model)
    assert run.manifest.labels == ["TINY MODEL"]
    assert run.summary.completed == 6
    assert run.findings and all(f"{one.severity}: {one.evidence} [{one.rule}]" in shown for one in run.findings)


@pytest.mark.parametrize(
    ("pair", "words"),
    [
        ("url=http://127.0.0.1:1", "nothing answers at http://127.0.0.1:1"),
        ("url=ftp://host", "lacks http:// or https://, or its host: write http://HOST:PORT or https://HOST"),
        ("engine_flags=--x", "are for an engine that is started here"),
    ],
)
def test_what_is_wrong_with_an_address_is_one_line_and_exit_2(tmp_path, capsys, tiny, pair, words):
    pairs = ["-p", f"url={tiny.url}", "-p", pair]
    assert main([*PROFILE, *pairs, "--results", str(tmp_path), "vllm_h100"]) == 2
    [reported] = [line for line in capsys.readouterr().err.splitlines() if "vllm_h100 " not in line]  # of its progress
    assert words in reported
