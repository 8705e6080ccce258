"""`transformers serve` as an engine: recognised by its API, and launched for real where it is installed."""

import asyncio
import os

import pytest
from tests.gptoss_bench.engines.test_attached_server import SPOKEN, api, attached

from gptoss_bench import paths
from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch import version_beside
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.supervisor import descendants
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body
from serving import said_by, wait_until_gone

PROGRAM = paths.BUILD / "transformers" / "bin" / "transformers"
LISTED = {"paths": {"/v1/chat/completions": {}, "/load_model": {}}}


def test_it_is_known_by_its_routes_and_whatever_it_lists_is_not_what_it_serves():
    name = "openai/gpt-oss-20b"
    found = asyncio.run(attached(api(200, SPOKEN, models=("cached/another",), **{"openapi.json": LISTED}), name))
    assert (found.engine, found.model, found.version, found.label) == ("transformers", name, None, None)
    assert found.facts["notes"] == ["transformers does not report its version; this kit was tried with 5.23.x, 5.24.x"]


def test_it_is_never_sent_a_field_that_it_refuses():
    found = asyncio.run(attached(api(200, SPOKEN, **{"openapi.json": LISTED}), "m"))
    with pytest.raises(UsageError, match="transformers does not know ignore_eos and token_counts"):
        request_body(LoadPlan(ignore_eos=True, token_counts=True), found, 0)


def test_the_version_is_that_of_the_environment_of_the_program(tmp_path):
    assert version_beside(tmp_path / "bin" / "transformers", "transformers") is None
    installed = tmp_path / "lib" / "python3.11" / "site-packages" / "transformers-5.24.0.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: transformers\nVersion: 5.24.0\n")
    assert version_beside(tmp_path / "bin" / "transformers", "transformers") == "5.24.0"


@pytest.mark.skipif(
    not PROGRAM.exists() or not (paths.TINY_CHECKPOINT / "made.json").exists(),
    reason="no transformers serve or no checkpoint in build/: make setup-transformers run-vllm-cpu",
)
def test_a_real_one_is_launched_attached_to_and_gone(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", f"{PROGRAM.parent}{os.pathsep}{os.environ['PATH']}")
    monkeypatch.setenv("HF_HOME", str(tmp_path / "hf"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")  # threads that spin on shared cores were twenty times slower
    seen: list[int] = []

    async def use():
        model = str(paths.TINY_CHECKPOINT)
        async with open_engine(ServerChoice(engine="transformers", model=model), log_dir=tmp_path) as endpoint:
            seen.extend(descendants(os.getpid()))
            body = request_body(LoadPlan(max_tokens=200), endpoint, 0)
            said = await asyncio.to_thread(said_by, endpoint, body)
            return endpoint, said, await attach(endpoint.url, endpoint.model), await refused(endpoint.url)

    async def refused(url: str) -> str:
        try:
            await attach(url, "another")
        except UsageError as error:
            return str(error)
        return ""

    endpoint, said, found, words = asyncio.run(use())
    wait_until_gone(seen)
    assert (endpoint.engine, endpoint.model) == ("transformers", paths.TINY_CHECKPOINT.name)
    assert endpoint.version == version_beside(PROGRAM, "transformers")
    assert endpoint.label.startswith("TINY MODEL") and endpoint.facts["parameters"] < 100e6
    assert said.reasoning_text and said.answer_text and said.completion_tokens > said.output_events > 20
    assert (found.engine, found.label) == ("transformers", "TINY MODEL")
    assert "Server is pinned to" in words
    assert endpoint.facts["environment"] == {"HF_HUB_OFFLINE": "1", "OMP_NUM_THREADS": "1"}
