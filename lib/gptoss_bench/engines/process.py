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
from gptoss_bench.files import writing
from gptoss_client import API_KEY_VARIABLE, UsageError

LOOPBACK = "127.0.0.1"
_TAIL = 128 * 2**10
_CAUSE = re.compile(r"(?:^|\s)((?:[\w.]+\.)?\w*(?:Error|Exception): \S.*)")
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")
_STOP_S = 2 * GRACE_S + 5.0  # the supervisor needs at most both of its grace periods


class ServerProcess:
    """A command that runs under the supervisor. Call `stop` on every way out; the supervisor does if the owner dies."""

    def __init__(
        self,
        command: Sequence[str],
        log: Path,
        environment: Mapping[str, str] | None = None,
        cwd: Path | None = None,
    ) -> None:
        """Start `command` with our environment and `environment` on top, in the folder `cwd` where one is given.

        Output is appended to `log`. Raises UsageError where the log cannot be written.
        """
        self.command = tuple(command)
        self.log = log
        with writing(f"the server's log {log}", "free space or name another folder"):
            log.parent.mkdir(parents=True, exist_ok=True)
            output = log.open("ab")
        with output:
            self._logged_before = output.tell()
            self._supervisor = subprocess.Popen(
                # By path and not by -m: importing the whole package would only delay the start.
                [sys.executable, "-P", supervisor.__file__, "--", *self.command],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # a Ctrl-C in the terminal is for us alone
                cwd=cwd,
                env=_environment() | dict(environment or {}),
            )

    @property
    def exit_code(self) -> int | None:
        """The command's exit code as a shell shows it; None while it runs."""
        return self._supervisor.poll()

    def last_lines(self, lines: int = 3) -> str:
        """Return the last lines with words that the command wrote, as one; "it wrote nothing" where there are none.

        The first error that it named goes before them: what servers of several processes say last is only that one of
        them has ended.
        """
        with self.log.open("rb") as log:
            log.seek(max(self._logged_before, log.seek(0, os.SEEK_END) - _TAIL))
            written = _COLOURS.sub("", log.read().decode(errors="replace")).splitlines()
        words = [line.strip() for line in written if any(map(str.isalnum, line))]
        last = " | ".join(words[-lines:]) or "it wrote nothing"
        cause = next((found[1] for line in words if (found := _CAUSE.search(line))), None)
        return last if cause is None or cause in last else f"{cause[:400]} | {last}"

    def written(self) -> str:
        """All that the command wrote so far."""
        with self.log.open("rb") as log:
            log.seek(self._logged_before)
            return _COLOURS.sub("", log.read().decode(errors="replace"))

    async def stop(self) -> None:
        """End the command and all its processes; returns when they are gone. May be called twice."""
        await asyncio.shield(asyncio.to_thread(self.stop_now))

    def stop_now(self) -> None:
        """The same for callers without an event loop."""
        assert self._supervisor.stdin is not None
        with contextlib.suppress(OSError):
            self._supervisor.stdin.close()
        try:
            self._supervisor.wait(_STOP_S)
        except subprocess.TimeoutExpired:
            # It hangs; its own death takes the server along where the system is Linux.
            self._supervisor.send_signal(signal.SIGKILL)
            self._supervisor.wait()


def _environment() -> dict[str, str]:
    """Our own, without the key: a server that we start has no use for it, and might log it."""
    return {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}


@contextlib.contextmanager
def free_port(wanted: int = 0) -> Iterator[int]:
    """Yield a port on 127.0.0.1 that a server can take: `wanted`, or for 0 one that the system chooses.

    While the block lasts the port stays bound here, so that nobody else is given it. On Linux a server that sets
    SO_REUSEADDR, as servers do, can listen on it all the same; elsewhere the hold is let go at once.
    Raises UsageError where `wanted` is taken.
    """
    with socket.socket() as hold:
        hold.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            hold.bind((LOOPBACK, wanted))
        except (OSError, OverflowError) as error:
            raise UsageError(f"port {wanted} on {LOOPBACK} is not free: choose another, or 0 for any") from error
        port: int = hold.getsockname()[1]
        if sys.platform != "linux":
            hold.close()
        yield port
