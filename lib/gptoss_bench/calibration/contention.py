"""Keep the cores of this machine busy while a load is measured, and stop that on every exit."""

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator

from gptoss_bench.engines import supervisor

_BUSY = "print(flush=True)\nwhile True: pass"


@contextlib.contextmanager
def busy_cores(processes: int | None = None) -> Iterator[None]:
    """Run as many busy processes as this process may use cores, or `processes`, until the end of the block.

    Each has a supervisor, which stops it when the block ends and also when this process is killed.
    """
    usable = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    command = [sys.executable, "-I", supervisor.__file__, "--", sys.executable, "-I", "-S", "-c", _BUSY]
    with contextlib.ExitStack() as started:
        for _ in range(usable if processes is None else processes):
            busy = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, start_new_session=True)
            started.callback(busy.wait)
            for pipe in (busy.stdin, busy.stdout):
                assert pipe is not None
                started.callback(pipe.close)  # the supervisor ends when its stdin closes
            assert busy.stdout is not None
            busy.stdout.readline()  # it is busy from now on
        yield
