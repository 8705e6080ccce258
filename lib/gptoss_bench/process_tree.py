"""One command with all its processes: run to its end or to a limit, with what it cost in CPU and memory."""

import asyncio
import contextlib
import os
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from gptoss_bench.engines import leash

LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """`code` is the exit code, None where the command was ended at its limit.

    `cpu_s` is user and system time of all processes. `memory_mib` is the peak of the sum of their resident memory,
    looked at ten times a second, pages that two share counted twice; None where there is no /proc.
    """

    code: int | None
    wall_s: float
    cpu_s: float
    memory_mib: float | None


async def run_tree(command: Sequence[str], environment: Mapping[str, str], log: Path, *, limit_s: float) -> Cost:
    """Run `command` with its output in `log`; nothing of it is left on any way out.

    The leash adopts what its command leaves behind, so its own account at the end has the CPU of all of them.
    """
    began_s, peak = time.perf_counter(), 0
    leashed = [sys.executable, "-I", leash.__file__, "--", *command]
    with log.open("wb") as output, subprocess.Popen(  # noqa: ASYNC220 - it starts in a moment, and wait4 must be ours
        leashed, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
    ) as held:  # fmt: skip
        assert held.stdin is not None
        ended, wall_s = None, 0.0
        try:
            while ended is None and wall_s <= limit_s:
                peak = max(peak, sum(map(_resident, leash.descendants(held.pid))))
                await asyncio.sleep(LOOK_S)
                ended, wall_s = _ended(held.pid, os.WNOHANG), time.perf_counter() - began_s
        finally:
            held.stdin.close()  # the leash then ends whatever of its command has not ended
            in_time = ended is not None
            held.returncode, cpu_s = ended if ended is not None else _ended(held.pid, 0) or (1, 0.0)
    return Cost(held.returncode if in_time else None, wall_s, cpu_s, peak / 2**20 if peak else None)


def _ended(process: int, options: int) -> tuple[int, float] | None:
    """Exit code and CPU seconds of a child that has ended, it and all that it waited for; None while it runs."""
    found, status, used = os.wait4(process, options)
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime) if found else None


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
