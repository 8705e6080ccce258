"""Run a command that must not outlive its owner: `python supervisor.py -- COMMAND …`.

The command gets a session of its own. The owner holds the other end of stdin: when the owner dies in any way, the
kernel closes stdin. Then, or on a signal, every process of the command gets SIGTERM, and SIGKILL after a grace period.
The module uses the standard library only, so that it starts at once and stays small.
"""

import contextlib
import ctypes
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

GRACE_S = 5.0
_POLL_S = 0.05
_PR_SET_PDEATHSIG = 1  # Linux, prctl(2)
_PR_SET_CHILD_SUBREAPER = 36


def run(command: list[str], grace_s: float = GRACE_S) -> int:
    """Run `command` until it ends or stdin closes; return its exit code as a shell reports it."""
    owner = os.getppid()
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)  # an orphan of the command becomes our child, so that it is found
    wake, waker = os.pipe()
    for end in (wake, waker):
        os.set_blocking(end, False)
    signal.set_wakeup_fd(waker, warn_on_full_buffer=False)
    signals: list[int] = []
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, lambda received, _frame: signals.append(received))
    signal.signal(signal.SIGCHLD, lambda _received, _frame: None)
    try:
        child = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
            preexec_fn=lambda: _prctl(_PR_SET_PDEATHSIG, signal.SIGKILL),  # noqa: PLW1509 - there are no threads
        )
    except OSError as error:
        print(f"cannot start {command[0]}: {error.strerror}", file=sys.stderr, flush=True)
        return 127
    code = None
    while code is None and not signals and os.getppid() == owner:
        # The time limit is for a forked owner: its copy may hold our stdin open after the owner has died.
        ready, _, _ = select.select([0, wake], [], [], 1.0)
        if 0 in ready and not os.read(0, 4096):
            break
        with contextlib.suppress(BlockingIOError):
            os.read(wake, 4096)
        code = _reap(child.pid)
    ended = _end_all(child.pid, grace_s)
    code = ended if code is None else code
    return 128 + signal.SIGKILL if code is None else code


def _end_all(session: int, grace_s: float) -> int | None:
    """End every process of the command; return the exit code of its first process if that had not ended before."""
    code = None
    for number, patience_s in ((signal.SIGTERM, grace_s), (signal.SIGKILL, grace_s)):
        _signal_all(session, number)
        deadline = time.monotonic() + patience_s
        while time.monotonic() < deadline:
            collected = _reap(session)  # in each pass, because a zombie that is not collected counts as running
            code = collected if code is None else code
            if not _any_left(session):
                return code
            time.sleep(_POLL_S)
    return code


def _signal_all(session: int, number: int) -> None:
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.killpg(session, number)
    for process in descendants(os.getpid()):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.kill(process, number)


def _any_left(session: int) -> bool:
    try:
        os.killpg(session, 0)
    except ProcessLookupError:
        return any(True for _ in descendants(os.getpid()))
    except PermissionError:  # macOS raises it for a group of zombies
        return False
    return True


def _reap(first: int) -> int | None:
    """Collect every child that has ended; return the exit code of `first` if it is among them."""
    code = None
    with contextlib.suppress(ChildProcessError):
        while True:
            process, status = os.waitpid(-1, os.WNOHANG)
            if process == 0:
                break
            if process == first:
                ended = os.waitstatus_to_exitcode(status)
                code = ended if ended >= 0 else 128 - ended
    return code


def descendants(process: int) -> Iterator[int]:
    """Yield the processes below `process`, also those with a session of their own; nothing where there is no /proc."""
    for children in Path(f"/proc/{process}/task").glob("*/children"):
        with contextlib.suppress(OSError):
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def _prctl(option: int, value: int) -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(option, value, 0, 0, 0)


if __name__ == "__main__":
    if len(sys.argv) < 3 or sys.argv[1] != "--":
        print("usage: python -m gptoss_bench.engines.supervisor -- COMMAND [ARGUMENT …]", file=sys.stderr)
        sys.exit(2)
    sys.exit(run(sys.argv[2:]))
