"""Run a server process under the supervisor: output goes to a log, and no child process survives it."""

import asyncio
import contextlib
import os
import re
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from gptoss_bench.engines import supervisor
from gptoss_bench.engines.supervisor import GRACE_S
from gptoss_bench.files import open_own, writing
from gptoss_client import API_KEY_VARIABLE

LOOPBACK = "127.0.0.1"
LAST_LINES = 3
_TAIL = 128 * 2**10
_CAUSE = re.compile(r"(?:^|\s)((?:[\w.]+\.)?\w*(?:Error|Exception): \S.*)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STOP_S = 2 * GRACE_S + 5.0  # the supervisor needs at most both of its grace periods


class ServerProcess:
    """A command under the supervisor. Call `stop` on every exit; if the owner dies, the supervisor stops it."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start `command` with our environment and the variables of `environment`, in the folder `cwd` if one is given.

        Output is appended to `log`. Raises UsageError where the log cannot be written.
        """
        self.command = tuple(command)
        self.log = log
        with writing(f"the server's log {log}", "free space or name another folder"):
            log.parent.mkdir(parents=True, exist_ok=True)
            output = open_own(log, "ab")
        with output:
            self._logged_before = output.tell()
            self._supervisor = subprocess.Popen(
                # Run by path, because -m would import the whole package first.
                [sys.executable, "-P", supervisor.__file__, "--", *self.command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C in the terminal must not reach the server
                cwd=cwd,
                env=_environment() | dict(environment or {}),
            )

    @property
    def exit_code(self) -> int | None:
        """Return the command's exit code as a shell shows it; None while it runs."""
        return self._supervisor.poll()

    async def ends_within(self, limit_s: float) -> bool:
        """Return whether the command has ended, or does so within a time."""
        try:
            await asyncio.to_thread(self._supervisor.wait, limit_s)
        except subprocess.TimeoutExpired:
            return False
        return True

    def last_lines(self) -> str:
        """Return the last lines of the command's output as one line; "it wrote nothing" if there are none.

        The first error in the output comes before them: a server of several processes reports at its end only that
        one of them has ended.
        """
        with open_own(self.log, "rb") as log:
            log.seek(max(self._logged_before, log.seek(0, os.SEEK_END) - _TAIL))
            written = _COLOURS.sub("", log.read().decode(errors="replace")).splitlines()
        texts = [line.strip() for line in written if any(map(str.isalnum, line))]
        last = " | ".join(texts[-LAST_LINES:]) or "it wrote nothing"
        cause = next((found[1] for line in texts if (found := _CAUSE.search(line))), None)
        return last if cause is None or cause in last else f"{cause[:400]} | {last}"

    def written(self) -> str:
        """Return the output of the command so far."""
        with open_own(self.log, "rb") as log:
            log.seek(self._logged_before)
            return _COLOURS.sub("", log.read().decode(errors="replace"))

    async def stop(self) -> None:
        """Stop the command and all its processes; return when they have ended. May be called twice."""
        await asyncio.shield(asyncio.to_thread(self.stop_now))

    def stop_now(self) -> None:
        """Stop the command as `stop` does, for callers without an event loop."""
        assert self._supervisor.stdin is not None
        with contextlib.suppress(OSError):
            self._supervisor.stdin.close()
        try:
            self._supervisor.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # The supervisor does not respond. On Linux the kernel kills the server when its supervisor dies.
            self._supervisor.send_signal(signal.SIGKILL)
            self._supervisor.wait()


def _environment() -> dict[str, str]:
    """Return our environment without the API key: a started server does not need it and might log it."""
    return {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}


@contextlib.contextmanager
def free_port() -> Iterator[int]:
    """Yield a port on 127.0.0.1 that a server can take.

    The port stays bound here until the block ends, so that the system gives it to no other process. On Linux a server
    that sets SO_REUSEADDR, as servers do, can still listen on it; on other systems it is released at once.
    """
    with socket.socket() as hold:
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        hold.bind((LOOPBACK, 0))
        port: int = hold.getsockname()[1]
        if sys.platform != "linux":
            hold.close()
        yield port
