"""A disk that fills up, on a real file system of some kilobytes: one line, no row lost, rebuild finishes the run."""

import asyncio
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from faults import LONG, count
from gptoss_bench import paths
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.evaluate import finish_interrupted
from scripted import scripted, speak
from serving import PATIENCE_S

LOAD = [sys.executable, "-m", "gptoss_bench", "load", "--model", "m", "-n", "300", "-c", "3"]


def mount(*options: str) -> bool:
    if shutil.which("mount") is None:
        return False
    return subprocess.run(["mount", *options], capture_output=True, check=False).returncode == 0


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    disk = tmp_path / "disk"
    disk.mkdir()
    if not mount("-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)):
        pytest.skip("no right to mount a tmpfs")
    try:
        yield disk
    finally:
        subprocess.run(["umount", str(disk)], check=True)


SIZES_KIB = [8, 16, 24, 32, 40, 48, 64, 96, 128, 200, 300, 400]


@pytest.mark.parametrize("kib", SIZES_KIB if LONG else [48])
def test_a_disk_that_is_full_is_one_line_and_loses_no_row(small_disk, kib):
    assert mount("-o", f"remount,size={kib}k", str(small_disk))

    async def run() -> tuple[int, str]:
        async with scripted(speak) as server:
            command = [*LOAD, "--url", server.endpoint.url, "--results", str(small_disk)]
            process = await asyncio.create_subprocess_exec(
                *command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, cwd=paths.ROOT
            )
            _, err = await asyncio.wait_for(process.communicate(), PATIENCE_S)
            return process.returncode or 0, err.decode()

    code, err = asyncio.run(run())
    count("loads onto a disk that fills up")
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1, err
    assert (code, "No space left on device" in err) == (2, True), err
    manifests = list(small_disk.glob("runs/*/manifest.json"))
    if not manifests:
        return
    full = Run.load(manifests[0].parent)
    before = full.requests
    assert mount("-o", "remount,size=8m", str(small_disk))
    finished = finish_interrupted(full.path)
    assert (finished.finished, finished.manifest.status) == (True, "incomplete")
    assert finished.requests.equals(before)
    count("requests on full disks, equal row by row after rebuild", len(finished.requests))
