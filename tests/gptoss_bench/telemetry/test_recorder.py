"""The sampler beside a run: real processes, real /proc, and NVML's own C calls into a stand-in library."""

import asyncio
import json
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from folders import TESTS
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.figures.machine import client_against_server, machine_timeline
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.phases import PHASE_AFTER, PHASE_BEFORE, PHASE_ENDED, PHASE_INFERENCE
from gptoss_bench.session.session import serving
from gptoss_bench.telemetry.recorder import FILE, MachineSampler
from gptoss_bench.telemetry.samples import GPU_COLUMNS, energy_j, read_sample_lines
from gptoss_client.plan import LoadPlan
from gptoss_client.trace import Endpoint
from scripted import scripted, speak
from serving import wait_until, wait_until_gone

STANDIN = TESTS / "standin" / "nvml.c"
IDLE = Endpoint(url="http://127.0.0.1:9", model="m", dialect="openai", engine="none")  # nothing listens there


@pytest.fixture(scope="module")
def library(tmp_path_factory) -> Path:
    """The folder of a library that has the functions of libnvidia-ml.so.1."""
    pytest.importorskip("pynvml", reason="nvidia-ml-py is not installed")
    compiler = shutil.which("cc") or shutil.which("gcc")
    if compiler is None:
        pytest.skip("no C compiler to make the stand-in of NVML with")
    folder = tmp_path_factory.mktemp("nvml")
    subprocess.run([compiler, "-shared", "-fPIC", "-o", folder / "libnvidia-ml.so.1", STANDIN], check=True)
    return folder


@pytest.fixture
def plays(library, monkeypatch):
    """Let the samplers that are started from now on find a driver that plays a part."""

    def play(part: str) -> None:
        monkeypatch.setenv("LD_LIBRARY_PATH", str(library))
        monkeypatch.setenv("STANDIN", part)
        monkeypatch.setenv("STANDIN_PID", str(os.getpid()))

    return play


def sampled(folder: Path) -> None:
    """Wait until the host was sampled twice more; a GPU is sampled more often. Without a folder nothing is."""

    def samples() -> int:
        return (folder / FILE).read_text().count('"of":"host"')

    if folder.exists():
        before = samples()
        wait_until(lambda: samples() >= before + 2, "the sampler took two samples")


async def phases(folder: Path, *, seconds: float = 0.3) -> MachineSampler:
    telemetry = MachineSampler(folder)
    await telemetry.start()
    telemetry.watch(IDLE)
    for phase in (PHASE_AFTER, PHASE_INFERENCE):
        telemetry.mark(phase)
        await asyncio.sleep(seconds)
        await asyncio.to_thread(sampled, folder)
    telemetry.mark(PHASE_ENDED)
    await asyncio.to_thread(sampled, folder)
    reported = telemetry.describe()
    await telemetry.stop()
    telemetry.reported = reported
    return telemetry


def test_a_gpu_is_seen_in_every_phase_with_all_that_it_tells(tmp_path, plays):
    plays("full")
    seen = asyncio.run(phases(tmp_path))
    gpu = seen.tables["gpu"]
    assert set(gpu["phase"]) >= {PHASE_BEFORE, PHASE_AFTER, PHASE_INFERENCE}
    assert list(gpu.columns) == list(GPU_COLUMNS)
    assert set(gpu["memory_used_bytes"]) == {2**30}
    assert set(gpu["power_w"]) == {100.0}
    assert (gpu["energy_j"].diff().dropna() >= 0).all()
    assert set(gpu["throttle"]) == {"power cap"}  # an idle GPU is not throttled
    reported = seen.reported.gpu
    assert reported.devices[0].name == "STAND-IN GPU"
    assert reported.by_phase[PHASE_INFERENCE].utilisation == 0.5
    [span] = [span for span in seen.reported.phases if span.phase == PHASE_INFERENCE]
    length_s = (span.end_ns - span.start_ns) / 1e9
    assert seen.reported.energy_j == pytest.approx(100 * length_s, rel=0.05)


def test_what_a_vgpu_does_not_tell_is_null_and_energy_is_not_estimated(tmp_path, plays):
    plays("vgpu")
    seen = asyncio.run(phases(tmp_path))
    gpu = seen.tables["gpu"]
    for name in ("power_w", "energy_j", "sm_clock_mhz", "temperature_c", "throttle"):
        assert gpu[name].isna().all(), name
    assert gpu["memory_used_bytes"].notna().all()
    assert (seen.reported.energy_j, seen.reported.gpu.throttled_share) == (None, None)


def test_an_older_driver_is_understood(tmp_path, plays):
    plays("old")
    gpu = asyncio.run(phases(tmp_path, seconds=0.2)).tables["gpu"]
    assert set(gpu["throttle"]) == {"power cap"}  # known to it by another name
    assert set(gpu["memory_used_bytes"]) == {2**30 + 2**28}  # it does not tell used from reserved


@pytest.mark.parametrize(
    ("part", "words"),
    [("none", "lists none"), ("unloaded", "NVML says Driver Not Loaded"), ("lost", "it was lost")],
)
def test_no_gpu_no_driver_and_a_lost_gpu_are_reported(tmp_path, plays, part, words):
    plays(part)
    seen = asyncio.run(phases(tmp_path))
    assert words in seen.reported.gpu.words
    assert seen.words is None
    assert len(seen.tables["host"]) > 0


def test_without_a_driver_the_gpu_table_is_empty_and_the_host_is_seen(tmp_path, monkeypatch):
    monkeypatch.delenv("LD_LIBRARY_PATH", raising=False)
    if shutil.which("nvidia-smi"):
        pytest.skip("this machine has a driver")
    seen = asyncio.run(phases(tmp_path))
    assert seen.tables["gpu"].empty
    assert list(seen.tables["gpu"].columns) == list(GPU_COLUMNS)
    assert seen.reported.gpu.words.startswith("no GPU")
    host = seen.tables["host"]
    assert (host["memory_used_bytes"] > 0).all()
    assert host["cpu_share"].dropna().between(0, 1).all()
    assert host["engine_cpu"].isna().all()  # nothing listens
    assert (host["client_rss_bytes"] > 0).all()


def test_the_engine_is_whoever_listens_and_all_below_it(tmp_path):
    below = "import time; x = bytearray(80_000_000); time.sleep(60)"
    source = (
        "import socket, subprocess, sys, time\n"
        "s = socket.create_server(('127.0.0.1', 0)); s.listen()\n"
        f"p = subprocess.Popen([sys.executable, '-c', {below!r}])\n"
        "print(s.getsockname()[1], p.pid, flush=True)\n"
        "try: time.sleep(60)\nfinally: p.kill()\n"
    )
    process = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    child = 0
    try:
        port, child = map(int, process.stdout.readline().split())
        wait_until(lambda: rss(child) > 80_000_000, "the child has its memory")

        async def look() -> pd.DataFrame:
            telemetry = MachineSampler(tmp_path)
            await telemetry.start()
            telemetry.watch(Endpoint(url=f"http://127.0.0.1:{port}", model="m", dialect="openai", engine="e"))
            for _ in range(3):  # the use of a CPU is that between two samples
                await asyncio.to_thread(sampled, tmp_path)
            await telemetry.stop()
            return telemetry.tables["host"]

        host = asyncio.run(look())
        assert host["engine_processes"].max() == 2
        assert host["engine_rss_bytes"].max() > 80_000_000
        assert host["engine_cpu"].notna().any()
    finally:
        process.kill()
        process.wait()
        process.stdout.close()
        if child:
            os.kill(child, signal.SIGKILL)


def rss(process: int) -> int:
    try:
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    except OSError:
        return 0


def test_a_sampler_that_is_killed_is_reported_and_its_rows_stay(tmp_path):
    async def run() -> MachineSampler:
        telemetry = MachineSampler(tmp_path)
        await telemetry.start()
        telemetry.mark(PHASE_INFERENCE)
        await asyncio.to_thread(sampled, tmp_path)
        os.kill(telemetry._process.pid, signal.SIGKILL)
        await asyncio.to_thread(wait_until_gone, [telemetry._process.pid])
        await telemetry.stop()
        return telemetry

    seen = asyncio.run(run())
    assert "ended in mid-run" in seen.words
    assert len(seen.tables["host"]) >= 2


def test_a_folder_that_cannot_be_written_is_reported_and_nothing_is_raised(tmp_path):
    seen = asyncio.run(phases(tmp_path / "missing", seconds=0.0))
    assert "the sampler ended at once" in seen.words
    assert all(table.empty for table in seen.tables.values())


def test_the_sampler_ends_when_its_owner_is_killed(tmp_path):
    source = (
        "import asyncio, time\nfrom pathlib import Path\nfrom gptoss_bench.telemetry.recorder import MachineSampler\n"
        f"t = MachineSampler(Path({str(tmp_path)!r}))\nasyncio.run(t.start())\nprint(t._process.pid, flush=True)\n"
        "time.sleep(60)\n"
    )
    owner = subprocess.Popen([sys.executable, "-c", source], stdout=subprocess.PIPE, text=True)
    sampler = int(owner.stdout.readline())
    owner.kill()
    owner.wait()
    owner.stdout.close()
    wait_until_gone([sampler])
    assert (tmp_path / FILE).read_text().count("\n") >= 2


def test_lines_that_were_cut_off_are_left_out():
    whole = json.dumps({"of": "gpu", "timestamp_ns": 5, "gpu": 0, "power_w": 1.0})
    tables, devices = read_sample_lines([whole, whole[:20], "[]", "", '{"of": "else"}'], [(PHASE_AFTER, 3)])
    assert tables["gpu"][["timestamp_ns", "phase", "power_w"]].to_numpy().tolist() == [[5, PHASE_AFTER, 1.0]]
    assert devices["words"] == "the sampler did not start"


@pytest.mark.parametrize(
    ("rows", "joules"),
    [
        pytest.param([(0, 0, 10.0), (100, 0, 20.0)], 4.0, id="on a straight line between samples"),
        pytest.param([(0, 0, 10.0), (100, 0, 20.0), (0, 1, 0.0), (100, 1, 100.0)], 44.0, id="two GPUs"),
        pytest.param([(0, 0, 10.0), (50, 0, 20.0)], None, id="no sample after the window"),
        pytest.param([(40, 0, 10.0), (100, 0, 20.0)], None, id="no sample before it"),
        pytest.param([(0, 0, 30.0), (100, 0, 20.0)], None, id="a counter that went backwards"),
        pytest.param([(0, 0, None), (100, 0, None)], None, id="no counter"),
        pytest.param([], None, id="no GPU"),
    ],
)
def test_energy_between_two_moments(rows, joules):
    frame = pd.DataFrame(rows, columns=["timestamp_ns", "gpu", "energy_j"])
    found = energy_j(frame.astype({"energy_j": "float64"}), 20, 60)
    assert found == (None if joules is None else pytest.approx(joules))


async def whole_run(results: Path) -> Run:
    async with scripted(speak) as server:
        server.documents["/v1/models"] = {"data": [{"id": "m"}]}
        plan = LoadPlan(concurrency=2, requests=12, warmup=2)
        choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
        async with serving("test", choice, plan=plan, results_dir=str(results)) as session:
            await session.load(plan)
        return session.finish()


def test_a_run_with_telemetry_is_whole_and_its_figures_are_drawn(tmp_path, plays):
    plays("full")
    run = asyncio.run(whole_run(tmp_path))
    assert run.manifest.status == "complete"
    assert set(run.requests["outcome"]) == {"completed"}
    assert not (run.path / FILE).exists()
    tables = {name: run.table(name) for name in ("gpu", "host", "server")}
    phases_seen = set(tables["gpu"]["phase"])
    assert PHASE_AFTER in phases_seen and PHASE_BEFORE not in phases_seen  # it was attached to
    assert run.summary.telemetry.words is None
    assert run.summary.energy_j_per_tok == run.summary.telemetry.energy_j / 36  # three tokens each
    figure = machine_timeline(tables, run.summary, run.manifest)
    assert any(PHASE_INFERENCE in text.get_text() for axes in figure.axes for text in axes.texts)
    client_against_server(run.summary, run.manifest)


def test_without_a_gpu_the_same_code_says_so_in_the_figure(tmp_path, plays):
    plays("none")
    run = asyncio.run(whole_run(tmp_path))
    assert run.table("gpu").empty
    assert (run.summary.energy_j_per_tok, run.summary.power_w) == (None, None)
    tables = {name: run.table(name) for name in ("gpu", "host")}
    figure = machine_timeline(tables, run.summary, run.manifest)
    assert any("no GPU" in text.get_text() for text in figure.texts)


def test_no_sampler_is_left_when_the_engine_cannot_be_had(tmp_path, monkeypatch):
    monkeypatch.setenv("PATH", str(tmp_path))  # there is no vllm

    async def run() -> None:
        async with serving("test", ServerChoice(engine="vllm"), plan=LoadPlan(), results_dir=str(tmp_path)):
            pass

    with pytest.raises(Exception, match="vllm is not on PATH"):
        asyncio.run(run())
    [folder] = (tmp_path / "runs").iterdir()
    assert Run.load(folder).manifest.status == "incomplete"
    assert not (folder / FILE).exists()
    started = [path for path in Path("/proc").glob("[0-9]*/cmdline") if str(folder).encode() in safely(path)]
    assert started == []


def safely(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def test_the_sampler_starts_without_table_libraries():
    """It starts beside each load: what it imports takes a core from the load."""
    code = "import sys, gptoss_bench.telemetry.sampler; print({'numpy', 'pandas', 'pydantic'} & set(sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"set()"
