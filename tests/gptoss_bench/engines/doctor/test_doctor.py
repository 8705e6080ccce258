"""The doctor: its decisions from facts as literals, its probes on a PATH of little programs, its exit codes."""

import asyncio
import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from gptoss_bench import paths
from gptoss_bench.cli.doctor import _need
from gptoss_bench.cli.main import main
from gptoss_bench.engines.doctor import facts as doctor_facts
from gptoss_bench.engines.doctor.checks import (
    DOCTOR_SCENARIOS,
    FAIL,
    NOTE,
    OK,
    CheckResult,
    MachineFacts,
    Need,
    Program,
    can_run,
    examine,
    report_heading,
)
from gptoss_bench.engines.doctor.facts import (
    gather_facts,
    hub_model,
    ollama_service,
    ollama_stored,
    program,
    weights_folder,
)
from gptoss_bench.runs.installed import SmiGpu
from gptoss_client import UsageError
from scripted import scripted, speak

GIB = 2**30
H100 = SmiGpu("NVIDIA H100 NVL", 95830, None, "580.1", (9, 0))
A10 = SmiGpu("NVIDIA A10-24Q", 24512, None, "550.1", (8, 6))
GOOD = MachineFacts(
    system="Linux",
    cards=(H100, A10),
    pci_devices=2,
    smi=None,
    programs={"ollama": Program("on PATH", "0.30.1"), "vllm": Program("in build/vllm", "0.32.0")},
    models={"local": "gpt-oss-tiny.gguf", "a10": "in this user's store", "h100": "in the hub's cache"},
    free_bytes={"results": 10**11, "h100": 10**11},
    open_files=(1024, 524288),
    clock="tsc",
    clock_read_ns=40,
    kernel_timestamps=True,
    packages={"torch": "2.13.0", "transformers": "5.23.0"},
)
NONE = replace(GOOD, cards=(), pci_devices=0, smi="nvidia-smi is not on PATH", programs={}, models={})


def need(scenario: str, model: str = "") -> Need:
    return _need(scenario, model)


def lines(scenario: str, facts: MachineFacts, model: str = "") -> dict[str, CheckResult]:
    return {line.check: line for line in examine(scenario, facts, need(scenario, model))}


@pytest.mark.parametrize("scenario", DOCTOR_SCENARIOS)
def test_a_machine_that_has_everything_can_run_everything(scenario):
    found = examine(scenario, GOOD, need(scenario))
    assert can_run(found)
    assert f"this machine can: make run{'' if scenario == 'local' else f'-{scenario}'}" in report_heading(
        scenario, found
    )
    assert all("\n" not in str(line) for line in found)


@pytest.mark.parametrize("scenario", ["a10", "h100"])
def test_a_machine_without_a_gpu_and_an_engine_is_reported_what_to_do(scenario):
    facts = replace(NONE, models={"local": "x"})
    found = lines(scenario, facts)
    assert found["GPU"].state == found["engine"].state == FAIL
    assert found["GPU"].fix.endswith("_v5")
    assert all(line.fix for line in found.values() if line.state == FAIL)
    assert can_run(list(lines("local", facts).values()))
    failed = sum(line.state == FAIL for line in found.values())
    assert report_heading(scenario, list(found.values())).endswith(f"this machine cannot: {failed} checks failed")
    assert report_heading(scenario, [found["GPU"]]).endswith("this machine cannot: 1 check failed")


@pytest.mark.parametrize(
    ("changed", "check", "state", "words"),
    [
        ({"cards": (), "smi": "nvidia-smi says: couldn't communicate"}, "GPU", FAIL, "its driver is not"),
        ({"cards": ()}, "GPU", FAIL, "lists no GPU"),
        ({"cards": (SmiGpu("NVIDIA L4", 24 * 1024, None, "550", None),)}, "GPU", NOTE, "not the H100 of the write-up"),
        ({"cards": (SmiGpu("NVIDIA A100", 12 * 1024, None, "550", None),)}, "GPU memory", FAIL, "the GPU has 12.9 GB"),
        ({"cards": (SmiGpu("NVIDIA H100", None, None, "550", None),)}, "GPU memory", NOTE, "is unknown"),
        ({"cards": (replace(H100, used_mib=90 * 1024),)}, "GPU memory", NOTE, "are in use"),
        ({"programs": {"vllm": Program("on PATH", "0.9.2")}}, "engine", FAIL, "does not know gpt-oss yet"),
        ({"programs": {"vllm": Program("on PATH", "0.10.1+gptoss")}}, "engine", NOTE, "this kit was tried with"),
        ({"programs": {"vllm": Program("on PATH", None)}}, "engine", NOTE, "of an unknown version"),
        (
            {"programs": {"vllm": Program("on PATH", "0.320.0")}},
            "engine",
            NOTE,
            "this kit was tried with 0.26.x, 0.32.x",
        ),
        ({"models": {"h100": None}}, "model", NOTE, "will be fetched: 13.8 GB"),
        ({"models": {}, "free_bytes": {"h100": 10**9}}, "model", FAIL, "1.0 GB are free"),
        ({"free_bytes": {"results": 10**6}}, "disk", FAIL, "free for results"),
        ({"free_bytes": {}}, "disk", NOTE, "is unknown"),
        ({"open_files": (64, 256)}, "open files", FAIL, "320 wanted, 256 allowed"),
        ({"open_files": (64, 4096)}, "open files", OK, "the load raises it itself"),
        ({"open_files": None}, "open files", OK, "no limit"),
        ({"clock": "hpet"}, "clock", NOTE, "by a system call"),
        ({"clock": None}, "clock", NOTE, "not reported"),
        ({"kernel_timestamps": False}, "timestamps", NOTE, "a busy client reads late"),
    ],
)
def test_each_thing_that_is_missing_or_odd_has_its_line(changed, check, state, words):
    line = lines("h100", replace(GOOD, **changed))[check]
    assert (line.state, words in line.words) == (state, True), line
    assert line.fix or state != FAIL


def test_the_120b_needs_more_than_an_a10_and_less_than_an_h100():
    assert lines("h100", GOOD, "openai/gpt-oss-120b")["GPU memory"].state == OK
    assert lines("h100", replace(GOOD, cards=(A10,)), "openai/gpt-oss-120b")["GPU memory"].state == FAIL
    assert lines("a10", replace(GOOD, cards=(A10,)))["GPU memory"].state == OK
    assert lines("h100", GOOD, "a/model-of-yours")["GPU memory"].state == NOTE


def test_bf16_needs_linux_and_its_packages_and_no_gpu():
    assert can_run(list(lines("bf16", NONE).values()))
    assert lines("bf16", replace(NONE, system="Darwin"))["memory limit"].state == FAIL
    assert "torch" in lines("bf16", replace(NONE, packages={"transformers": "5"}))["packages"].words


@pytest.fixture
def path(tmp_path, monkeypatch):
    """A PATH of our own, to which little programs are added."""
    folder = tmp_path / "bin"
    folder.mkdir()
    monkeypatch.setenv("PATH", str(folder))
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("OLLAMA_MODELS", "HF_HOME", "HF_HUB_CACHE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("OLLAMA_HOST", "127.0.0.1:9")  # where nothing listens

    def put(name: str, script: str) -> None:
        program = folder / name
        program.parent.mkdir(parents=True, exist_ok=True)
        program.write_text(f"#!/bin/sh\n{script}\n")
        program.chmod(0o755)

    return put


def test_an_engine_is_found_with_its_version(path, tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    assert program("ollama") is None
    path("ollama", "echo 'Warning: could not connect'; echo 'Warning: client version is 0.33.1'")
    assert program("ollama") == Program("on PATH", "0.33.1")
    path("../build/vllm/bin/vllm", "echo 'I must not be asked'; exit 1")
    installed = tmp_path / "build/vllm/lib/python3.12/site-packages/vllm-0.32.0+cpu.dist-info"
    installed.mkdir(parents=True)
    (installed / "METADATA").write_text("Metadata-Version: 2.1\nName: vllm\nVersion: 0.32.0+cpu\n")
    assert program("vllm") == Program("in build/vllm", "0.32.0+cpu")
    path("vllm", "exit 3")
    assert program("vllm") == Program("on PATH", None)


def test_models_are_found_where_the_engines_look_for_them(path, tmp_path):
    assert not ollama_stored("gpt-oss:20b")
    manifest = tmp_path / ".ollama/models/manifests/registry.ollama.ai/library/gpt-oss/20b"
    manifest.parent.mkdir(parents=True)
    manifest.write_text("{}")
    assert ollama_stored("gpt-oss:20b")
    assert not ollama_stored("gpt-oss")  # that would be :latest
    assert hub_model("openai/gpt-oss-20b") is None
    weights = tmp_path / ".cache/huggingface/hub/models--openai--gpt-oss-20b/snapshots/abc/model.safetensors"
    weights.parent.mkdir(parents=True)
    weights.write_text("")
    assert hub_model("openai/gpt-oss-20b") == "in the hub's cache"


def test_a_server_of_ollama_that_runs_and_has_the_model_is_used(path, monkeypatch):
    async def ask() -> MachineFacts:
        async with scripted(speak) as server:
            server.documents |= {
                "/api/tags": {"models": [{"name": "gpt-oss:20b"}]},
                "/api/version": {"version": "0.30.2"},
            }
            monkeypatch.setenv("OLLAMA_HOST", server.endpoint.url.replace("http://127.0.0.1", "0.0.0.0"))
            assert await ollama_service("gpt-oss:120b") is None
            return await asyncio.to_thread(gather_facts, {"a10": "gpt-oss:20b"})

    facts = asyncio.run(ask())
    assert facts.programs["ollama"].version == "0.30.2"
    assert facts.models["a10"].startswith("at http://127.0.0.1:")


def test_what_is_looked_at_is_there_on_this_machine():
    facts = gather_facts({})
    assert facts.free_bytes["results"] > 0
    assert 0 < facts.clock_read_ns < 10**6
    assert facts.open_files is None or facts.open_files[0] <= facts.open_files[1]
    if sys.platform == "linux":
        assert facts.system == "Linux"
        assert facts.kernel_timestamps
        clock = Path("/sys/devices/system/clocksource/clocksource0/current_clocksource")
        assert facts.clock == (clock.read_text().strip() if clock.exists() else None)


def test_the_exit_code_is_2_where_a_scenario_that_was_asked_for_cannot_run(path, capsys, monkeypatch):
    monkeypatch.setattr(doctor_facts, "PCI", Path("/nowhere"))
    assert main(["doctor", "local"]) == 0
    assert main(["doctor", "a10"]) == 2
    assert "ollama pull gpt-oss:20b" in capsys.readouterr().out
    assert main(["doctor", "all"]) == 2
    assert main(["doctor"]) == 0  # a report: nothing was asked for
    shown = capsys.readouterr().out
    assert all(f"{name}: " in shown for name in DOCTOR_SCENARIOS)


def test_an_unknown_scenario_is_one_line(capsys):
    assert main(["doctor", "b200"]) == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_run_a10_and_run_h100_begin_with_the_doctor_unless_a_server_is_given():
    def commands(*given: str) -> str:
        made = subprocess.run(
            ["make", "-n", "-o", ".venv/.ready", *given],
            cwd=paths.ROOT,
            env=os.environ | {"URL": "", "MODEL": ""},
            capture_output=True,
            text=True,
            check=True,
        )
        return made.stdout

    for name in ("a10", "h100"):
        shown = commands(f"run-{name}")
        assert shown.index(f"doctor {name}") < shown.index("gptoss_bench run")
        assert "doctor" not in commands(f"run-{name}", "URL=http://127.0.0.1:8000")
    assert "--model 'openai/gpt-oss-120b'" in commands("run-h100", "MODEL=openai/gpt-oss-120b")


def test_random_weights_are_made_and_not_fetched(monkeypatch):
    facts, name = replace(GOOD, models={"h100": None}), "random:gpt-oss-20b"
    words = f"{name} is not here yet and will be made in build/random: 13.8 GB"
    line = lines("h100", facts, name)["model"]
    assert (line.state, line.words) == (NOTE, words)
    # enough for the weights, and not for the gigabyte that results may take beside them
    full = lines("h100", replace(facts, free_bytes={"h100": 14 * 10**9}), name)["model"]
    assert (full.state, full.words) == (FAIL, f"{words}, and 14.0 GB are free") and "larger disk" in full.fix
    part = replace(facts, free_bytes={"h100": 5 * 10**9}, programs={})
    line = lines("h100", part, f"{name}-2-layers")
    assert (line["model"].state, "3.3 GB" in line["model"].words) == (NOTE, True)
    assert line["engine"].fix == "make setup-vllm"  # a container would not have these weights
    with pytest.raises(UsageError, match="99 layers are not possible"):
        lines("h100", facts, f"{name}-99-layers")
    monkeypatch.setenv("HF_HOME", "/a/larger/disk")
    assert weights_folder(name) == paths.RANDOM_CHECKPOINTS != weights_folder("openai/gpt-oss-20b")
