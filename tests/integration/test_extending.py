"""The checklists of docs/extending.md, followed in a copy of the package: an engine, a lint rule and a claim work."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_bench import paths

ENGINE = '''"""Launch the paced server of this kit as an engine of its own."""

import sys
from dataclasses import dataclass
from pathlib import Path

from gptoss_client import Endpoint


@dataclass(frozen=True, slots=True)
class Paced:
    """`gptoss-bench reference-server`."""

    log_name: str = "paced.log"

    @classmethod
    def from_choice(cls, server, slots):
        return cls()

    @property
    def cwd(self) -> Path | None:
        return None

    def prepare(self) -> Endpoint:
        return Endpoint(url="", model="reference", dialect="openai", engine="paced", version="1.0")

    def command(self, port: int) -> list[str]:
        return [sys.executable, "-m", "gptoss_bench", "reference-server", "--port", str(port), "--tokens", "4"]

    def environment(self, port: int) -> dict[str, str]:
        return {}

    async def describe(self, http, endpoint: Endpoint, log: str) -> Endpoint:
        return endpoint


async def describe_paced(http, endpoint: Endpoint) -> Endpoint:
    return endpoint
'''
ROW = '    EngineSpec(name="paced", title="paced", describe_name="paced:describe_paced", class_name="paced:Paced"),\n'
RULE = """
@rule(
    "few-requests",
    "warning",
    reason="Three requests are an example.",
    advice="send more",
)
def _few_requests(result: Result) -> str | None:
    return f"{result.summary.completed} requests" if 0 < result.summary.completed < 9 else None


"""
CLAIM = """  - id: C99-made-up-rate
    kind: figure
    section: Key Metrics
    lines: "23"
    says: Tokens a second of a made-up load.
    published: {value: 82.7, step: 0.1, unit: tokens/s}
    needs: none
    tested_by: nothing
    decider: opinion
"""


@pytest.fixture(scope="module")
def copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the package in which the checklists were followed."""
    root = tmp_path_factory.mktemp("copy")
    lib = root / "lib"
    shutil.copytree(paths.PACKAGE.parent, lib, ignore=shutil.ignore_patterns("__pycache__", "*.gguf"))
    package = lib / "gptoss_bench"
    (package / "engines" / "paced.py").write_text(ENGINE)
    change(package / "engines" / "registry.py", "_SPECS = (\n", f"_SPECS = (\n{ROW}")
    rules = package / "lint" / "rules" / "design.py"
    change(rules, "DESIGN_RULES: tuple", f"{RULE.lstrip()}DESIGN_RULES: tuple")
    change(rules, "    _too_short,\n", "    _too_short,\n    _few_requests,\n")
    claims = root / "claims.yaml"
    published = paths.CLAIMS.parent / "pesuga-ollama-rx-7800-xt.yaml"
    claims.write_text(published.read_text() + CLAIM)
    return root


def change(file: Path, old: str, new: str) -> None:
    text = file.read_text()
    assert text.count(old) == 1, f"{file.name}: the checklist names a place that is not there"
    file.write_text(text.replace(old, new))


SCRIPT = """
import asyncio, sys
from pathlib import Path
from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.registry import ENGINE_SPECS

async def measure():
    engine = ENGINE_SPECS["paced"].load_class().from_choice(None, 1)
    async with launched(engine, Path("."), timeout_s=60.0) as endpoint:
        options = ["--requests", "3", "--concurrency", "1", "--max-tokens", "4", "--warmup", "0"]
        load = ["load", "--url", endpoint.url, "--model", endpoint.model, *options, "--results", "results"]
        return await asyncio.to_thread(main, load)

sys.exit(asyncio.run(measure()))
"""


def run(root: Path, *arguments: str, codes: tuple[int, ...] = (0,)) -> str:
    env = {**os.environ, "PYTHONPATH": str(root / "lib")}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout


def test_a_new_engine_is_launched_and_a_new_rule_judges_its_run(copy: Path) -> None:
    shown = run(copy, "-c", SCRIPT)
    assert "warning: 3 requests [few-requests]" in shown
    [found] = (copy / "results" / "runs").glob("*-load-*")
    # On a busy machine there is an error too: the client's timestamps are late.
    assert "few-requests" in run(copy, "-m", "gptoss_bench", "lint", str(found), codes=(0, 3))


def test_a_new_claim_gets_a_verdict(copy: Path) -> None:
    shown = run(copy, "-m", "gptoss_bench", "audit", str(copy / "claims.yaml"), "--results", str(copy / "results"))
    assert "line 23: Tokens a second of a made-up load. 82.7 tokens/s" in shown
    assert "opinion" in shown
