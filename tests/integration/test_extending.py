"""The checklists of docs/extending.md, followed in a copy: an engine, a lint rule, a claim and an importer work."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.runs.folder import Run

GUIDE = (paths.ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
ENGINE, IMPORTER = re.findall(r"^```python\n(.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
[ROW] = re.findall(r"^```text\n(    EngineSpec.*?)^```", GUIDE, re.DOTALL | re.MULTILINE)
# A server that is no engine of the kit: three tokens for each request, a report about itself, and metrics.
SERVER = '''"""Serve three tokens for each request."""

import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

if "--version" in sys.argv:
    sys.exit("three 1.2.3")
PIECES = [{"role": "assistant"}, {"content": "one"}, {"content": " two"}, {"content": " three"}]
served = 0


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def send(self, kind, text):
        self.send_response(200)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def do_GET(self):
        answers = {
            "/v1/models": json.dumps({"data": [{"id": "m"}]}),
            "/about": json.dumps({"version": "1.2.3", "parameters": 1000}),
            "/metrics": f"sglang:generation_tokens_total {3 * served}.0\\n",
        }
        if self.path in answers:
            return self.send("text/plain", answers[self.path])
        self.send_error(404)

    def do_POST(self):
        global served
        self.rfile.read(int(self.headers["Content-Length"]))
        served += 1
        chunks = [{"choices": [{"index": 0, "delta": piece, "finish_reason": None}]} for piece in PIECES]
        chunks.append({"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]})
        self.send("text/event-stream", "".join(f"data: {json.dumps(c)}\\n\\n" for c in chunks) + "data: [DONE]\\n\\n")


ThreadingHTTPServer(("127.0.0.1", int(sys.argv[sys.argv.index("--port") + 1])), Handler).serve_forever()
'''
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
    shutil.copytree(paths.PROFILES, root / "notebooks" / "profiles")
    package = lib / "gptoss_bench"
    program = root / "bin" / "three"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\n{SERVER}")
    program.chmod(0o755)
    engine = changed(ENGINE, 'executable("sglang", "sglang"', 'executable("three", "three"')
    (package / "engines" / "sglang.py").write_text(changed(engine, '"/server_info"', '"/about"'))
    row = changed(changed(ROW, '"/server_info"', '"/about"'), 'program="sglang"', 'program="three"')
    change(package / "engines" / "registry.py", "_SPECS = (\n", f"_SPECS = (\n{row}")
    metrics, known = package / "telemetry" / "prometheus_metrics.py", '"vllm:generation_tokens_total", '
    change(metrics, known, f'{known}"sglang:generation_tokens_total", ')
    rules = package / "lint" / "rules" / "design.py"
    change(rules, "DESIGN_RULES: tuple", f"{RULE.lstrip()}DESIGN_RULES: tuple")
    change(rules, "    _too_short,\n", "    _too_short,\n    _few_requests,\n")
    (package / "importers" / "mini_bench.py").write_text(IMPORTER)
    detect, last = package / "importers" / "detect.py", "from gptoss_bench.importers.mlperf import"
    change(detect, last, f"from gptoss_bench.importers.mini_bench import parse_mini_bench\n{last}")
    change(detect, "    parse_benchmark_report,\n)", "    parse_benchmark_report,\n    parse_mini_bench,\n)")
    claims = root / "claims.yaml"
    published = paths.CLAIMS.parent / "pesuga-ollama-rx-7800-xt.yaml"
    claims.write_text(published.read_text() + CLAIM)
    return root


def change(file: Path, old: str, new: str) -> None:
    file.write_text(changed(file.read_text(), old, new))


def changed(text: str, old: str, new: str) -> str:
    assert text.count(old) == 1, f"the checklist names a place that is not there: {old}"
    return text.replace(old, new)


LAUNCH = """
from gptoss_bench import bench

run = bench("", model="m", engine="sglang", concurrency=1, requests=3, warmup=0, max_tokens=4, results="results")
print(run.path)
"""
ATTACH = """
import asyncio, sys
from pathlib import Path

from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.registry import ENGINE_SPECS
from gptoss_bench.engines import ServerChoice

async def measure():
    engine = ENGINE_SPECS["sglang"].load_class().from_choice(ServerChoice(engine="sglang", model="m"), 1)
    async with launched(engine, Path("."), timeout_s=60.0) as endpoint:
        load = ["load", "--url", endpoint.url, "-n", "3", "-c", "1", "--warmup", "0", "--results", "attached"]
        return await asyncio.to_thread(main, load)

sys.exit(asyncio.run(measure()))
"""
PANEL = """
from pathlib import Path

from gptoss_bench.engines import ServerChoice
from gptoss_bench.notebook.run_panel import RunPanel
from gptoss_client import LoadPlan

panel = RunPanel(LoadPlan(), ServerChoice(), Path("results"))
panel.engine.value = dict(panel.engine.options)["start SGLang"]
print(*sorted(panel.fields()))
"""


def run(root: Path, *arguments: str, codes: tuple[int, ...] = (0,), path: bool = True) -> str:
    found = f"{root / 'bin'}:{os.environ['PATH']}" if path else os.environ["PATH"]
    env = {**os.environ, "PYTHONPATH": str(root / "lib"), "PATH": found}
    command = [sys.executable, *arguments]
    done = subprocess.run(command, env=env, cwd=root, capture_output=True, text=True, check=False)
    assert done.returncode in codes, done.stdout + done.stderr
    return done.stdout or done.stderr


def assert_measured(folder: Path) -> None:
    """Assert what the row of the registry promises of a run, however its server was found."""
    measured = Run.load(folder)
    endpoint = measured.manifest.endpoint
    assert endpoint is not None
    assert (endpoint.engine, endpoint.version, measured.manifest.labels) == ("sglang", "1.2.3", ["TINY MODEL"])
    server = measured.load_summary.server_metrics
    assert server is not None
    assert (server.source, server.counts["generation_tokens"]) == ("sglang", 9)


def test_the_engine_of_the_guide_is_launched_and_a_new_rule_judges_its_run(copy: Path) -> None:
    folder = Path(run(copy, "-c", LAUNCH).splitlines()[-1])
    assert_measured(copy / folder)
    # On a busy machine there is an error too: the client's timestamps are late.
    assert "few-requests" in run(copy, "-m", "gptoss_bench", "lint", str(folder), codes=(0, 3))


def test_a_running_server_of_the_new_engine_is_recognised_by_its_url(copy: Path) -> None:
    shown = run(copy, "-c", ATTACH)
    assert "TINY MODEL: m with sglang" in shown
    [folder] = (copy / "attached" / "runs").iterdir()
    assert_measured(folder)


def test_doctor_panel_and_commands_know_the_new_engine(copy: Path) -> None:
    assert "ok     engine         sglang 1.2.3 (on PATH)" in run(
        copy, "-m", "gptoss_bench", "doctor", "sglang", codes=(0, 2)
    )
    missing = run(copy, "-m", "gptoss_bench", "doctor", "sglang", codes=(2,), path=False)
    assert "three is not on PATH and not in build/three  ->  pip install sglang" in missing
    assert run(copy, "-c", PANEL).split() == ["context", "engine_flags", "model"]
    page = "from gptoss_bench.cli.reference_page import reference_page; print(reference_page(), end='')"
    assert run(copy, "-c", page) == (paths.ROOT / "docs" / "cli.md").read_text(encoding="utf-8")


def test_a_file_of_a_new_tool_is_read_and_a_wrong_value_in_it_is_named(copy: Path) -> None:
    file = copy / "mini.json"
    content = {"mini_bench": "1.4", "completed": 200, "streams": 4, "tokens": 9000, "median_ttft_s": 0.25}
    file.write_text(json.dumps(content))
    shown = run(copy, "-m", "gptoss_bench", "audit", str(file))
    assert "mini-bench 1.4" in shown and "0.25" in shown
    file.write_text(json.dumps(content | {"completed": "many"}))
    refused = run(copy, "-m", "gptoss_bench", "lint", str(file), codes=(2,))
    assert "completed" in refused and "this kit reads 1.x" in refused


def test_a_new_claim_gets_a_verdict(copy: Path) -> None:
    shown = run(copy, "-m", "gptoss_bench", "audit", str(copy / "claims.yaml"), "--results", str(copy / "results"))
    assert "line 23: Tokens a second of a made-up load. 82.7 tokens/s" in shown
    assert "opinion" in shown
