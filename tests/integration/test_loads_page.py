"""Each load on a page of docs that begins with ```bash runs as it is, against the embedded engine."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.runs.folder import Run
from gptoss_client.trace import Endpoint
from serving import held

PAGES = [paths.ROOT / "docs" / name for name in ("loads.md", "coming-from.md")]
EXAMPLES = [
    example
    for page in PAGES
    for example in re.findall(r"^```bash\n(.*?)^```", page.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE)
]
URL, MODEL = "http://127.0.0.1:8000", "openai/gpt-oss-20b"


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory):
    """The embedded engine with as many slots as the widest example needs."""
    server = open_engine(ServerChoice(embedded=True), log_dir=tmp_path_factory.mktemp("engine"), slots=4)
    with held(server) as endpoint:
        yield endpoint


def first_words(example: str) -> str:
    load = example[example.index("--model") + len(f"--model {MODEL} ") :]
    return "-".join(re.findall(r"[\w.]+", load)[:4])


@pytest.mark.parametrize("example", EXAMPLES, ids=first_words)
def test_an_example_runs_as_it_is(example: str, tiny: Endpoint, tmp_path: Path) -> None:
    command = tmp_path / "bin" / "gptoss-bench"
    command.parent.mkdir()
    command.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m gptoss_bench "$@" --results results\n')
    command.chmod(0o755)
    script = example.replace(URL, tiny.url).replace(MODEL, tiny.model)
    environment = os.environ | {"PATH": f"{command.parent}:{os.environ['PATH']}", "PYTHONPATH": str(paths.ROOT / "lib")}
    done = subprocess.run(
        ["bash", "-e", "-c", script], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    runs = [Run.load(path) for path in (tmp_path / "results" / "runs").iterdir()]
    assert len(runs) == example.count("gptoss-bench load ") > 0
    for run in runs:
        assert run.summary.completed == run.summary.requests > 0
        assert str(tmp_path) not in (run.path / "manifest.json").read_text()
