"""The kernel of an executed notebook and its connection file go with their owner, also below a subreaper."""

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from faults import LONG, count
from gptoss_bench import paths
from gptoss_bench.engines.supervisor import descendants
from serving import wait_until

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="prctl and /proc are Linux's")

# Adopts orphans as systemd does, starts a command, and stays until its stdin ends.
SUBREAPER = """
import ctypes, signal, subprocess, sys
PR_SET_CHILD_SUBREAPER = 36
assert ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) == 0
signal.signal(signal.SIGCHLD, signal.SIG_IGN)
print(subprocess.Popen(sys.argv[1:], stdin=subprocess.DEVNULL).pid, flush=True)
sys.stdin.read()
"""


def command_of(process: int) -> bytes:
    try:
        return Path(f"/proc/{process}/cmdline").read_bytes()
    except OSError:
        return b""


def below(process: int) -> list[bytes]:
    return [command for one in descendants(process) if (command := command_of(one))]


@contextmanager
def adopted(tmp_path: Path) -> Iterator[tuple[int, int]]:
    """Run a notebook below a subreaper; yield the ids of both processes."""
    (tmp_path / "tmp").mkdir()
    profile = ("--profile", str(paths.PROFILES / "smoke.yaml"), "--results", str(tmp_path / "results"))
    command = [sys.executable, "-m", "gptoss_bench", "run", *profile, "-p", "requests=100000", "vllm_h100"]
    with subprocess.Popen(
        [sys.executable, "-c", SUBREAPER, *command],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        env=os.environ | {"TMPDIR": str(tmp_path / "tmp")},
        cwd=paths.ROOT,
    ) as reaper:
        assert reaper.stdout is not None
        try:
            yield reaper.pid, int(reaper.stdout.readline())
        finally:
            left = list(descendants(reaper.pid))
            reaper.communicate()
            for process in left:
                if command_of(process):
                    os.kill(process, signal.SIGKILL)


MOMENTS = [(signal.SIGKILL, 0.5), (signal.SIGTERM, 0.3)]
MORE_MOMENTS = [(signal.SIGKILL, 0.0), (signal.SIGKILL, 0.2), (signal.SIGKILL, 1.5), (signal.SIGTERM, 2.0)]


@pytest.mark.parametrize(("number", "after_s"), MOMENTS + (MORE_MOMENTS if LONG else []))
def test_a_kernel_and_its_key_go_with_their_owner(tmp_path, number, after_s):
    with adopted(tmp_path) as (reaper, run):
        wait_until(lambda: any(b"ipykernel" in one for one in below(reaper)), "the kernel was started")
        time.sleep(after_s)
        os.kill(run, number)
        wait_until(lambda: not below(reaper), "no process is left")
    count("owners of a kernel killed or stopped below a subreaper")
    assert list((tmp_path / "tmp").rglob("*.json")) == []
    assert [folder for folder in (tmp_path / "tmp").iterdir() if folder.name.startswith("gptoss-kernel-")] == []
