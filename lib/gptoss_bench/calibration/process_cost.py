"""Run a command with all its processes, and measure what it costs: time, CPU and memory."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_bench.engines import descendants, supervisor

MEMORY_POLL_S = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """The cost of a command with all its processes; `code` is the exit code, None if it was stopped at its limit.

    `cpu_s` is user and system time. `memory_mib` is the peak sum of resident memory, sampled ten times a second, with
    shared pages counted once per process; None without /proc.
    """

    code: int | None
    wall_s: float
    cpu_s: float
    memory_mib: float | None


async def run_tree(command: Sequence[str], environment: Mapping[str, str], log: Path, *, limit_s: float) -> Cost:
    """Run `command` with its output in `log` and return its cost; all its processes are stopped in any case.

    The supervisor adopts orphaned processes, so its resource usage at the end includes the CPU time of all.
    """
    began_s, peak = time.perf_counter(), 0
    supervised = [sys.executable, "-I", supervisor.__file__, "--", *command]
    with log.open("wb") as output, subprocess.Popen(  # noqa: ASYNC220 - starting is quick; wait4 needs a direct child
        supervised, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
    ) as held:  # fmt: skip
        assert held.stdin is not None
        ended, wall_s = None, 0.0
        try:
            while ended is None and wall_s <= limit_s:
                peak = max(peak, sum(map(_resident, descendants(held.pid))))
                await asyncio.sleep(MEMORY_POLL_S)
                ended, wall_s = _ended(held.pid, os.WNOHANG), time.perf_counter() - began_s
        finally:
            held.stdin.close()  # the supervisor then stops the remaining processes
            in_time = ended is not None
            held.returncode, cpu_s = ended if ended is not None else _ended(held.pid, 0) or (1, 0.0)
    return Cost(held.returncode if in_time else None, wall_s, cpu_s, peak / 2**20 if peak else None)


def _ended(process: int, options: int) -> tuple[int, float] | None:
    """Return exit code and CPU seconds of an ended child and those it waited for; None while it runs."""
    found, status, used = os.wait4(process, options)
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime) if found else None


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
