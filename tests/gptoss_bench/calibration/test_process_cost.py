"""A command costs what all its processes cost, and all of them end with it."""

import asyncio
import os
import sys
import textwrap

from gptoss_bench.calibration.process_cost import run_tree
from serving import command_of, wait_until


def test_a_tree_costs_what_all_its_processes_do_also_those_that_lost_their_parent(tmp_path):
    burn = "import time\nwhile time.process_time() < 0.3: pass"
    source = f"""
        import subprocess, sys, time
        held = bytearray(64 * 2**20)
        subprocess.Popen([sys.executable, "-c", {burn!r}], start_new_session=True)
        time.sleep(1.5)
        print("done")
    """
    command = [sys.executable, "-c", textwrap.dedent(source)]
    cost = asyncio.run(run_tree(command, os.environ, tmp_path / "log", limit_s=60))
    assert (cost.code, (tmp_path / "log").read_text()) == (0, "done\n")
    assert cost.cpu_s >= 0.3
    assert cost.memory_mib > 64


def test_what_does_not_end_is_ended_with_all_its_processes(tmp_path):
    mark = f"sleep-of-{os.getpid()}"
    child = f"import time; {mark!r}; time.sleep(600)"
    source = f"import subprocess, sys; subprocess.run([sys.executable, '-c', {child!r}])"
    cost = asyncio.run(run_tree([sys.executable, "-c", source], os.environ, tmp_path / "log", limit_s=1.0))
    assert cost.code is None

    def gone():
        return not any(mark in words(int(name)) for name in os.listdir("/proc") if name.isdigit())

    def words(process):
        try:
            return command_of(process)
        except OSError:
            return ""

    wait_until(gone, "the child was gone")


def test_a_command_that_is_not_there_is_a_failed_run(tmp_path):
    cost = asyncio.run(run_tree([str(tmp_path / "nothing")], os.environ, tmp_path / "log", limit_s=60))
    assert cost.code == 127
