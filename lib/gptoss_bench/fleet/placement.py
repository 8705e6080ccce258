"""Where the workers of a load run: on this machine (`LocalFleet`), or where the user's cluster is."""

import contextlib
import os
import signal
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

from gptoss_bench.fleet.link import WorkerLink
from gptoss_client import UsageError

WORKER_MODULE = "gptoss_bench.session.worker"
LOG = "worker.log"  # of a worker, in its folder: what its process wrote to stderr


class Fleet(Protocol):
    """`count` places for workers. A worker that is gone is never started again: its part would be sent twice."""

    @property
    def count(self) -> int:
        """Number of workers."""

    def start(self, index: int, folder: Path) -> WorkerLink:
        """Start the process of a worker, whose run folder is to be in `folder` at the end, and return its link.

        Raises UsageError if no process can be started.
        """

    def folder(self, index: int, folder: Path) -> str:
        """Return the path, where the worker runs, at which it writes its run folder."""

    def results(self, index: int, results: Path) -> str:
        """Return a results folder, where a worker runs, that may have calibrations of its machine."""

    def collect(self, index: int, folder: Path) -> None:
        """Bring the run folder of a worker that has ended to `folder`. Raises RunFailed if it cannot be had."""

    def kill(self, index: int) -> None:
        """End the process of a worker at once, if it still runs."""

    def close(self) -> None:
        """End all processes that were started."""


class LocalFleet:
    """`count` processes of this machine; each ends with this process at the latest."""

    def __init__(self, count: int) -> None:
        """Take the number of workers. Raises UsageError if it is not 1 or more."""
        if count < 1:
            raise UsageError(f"workers must be 1 or more, not {count}")
        self.count = count
        self._processes: dict[int, subprocess.Popen[bytes]] = {}

    def command(self, index: int) -> Sequence[str]:
        """Return the command of a worker."""
        return [sys.executable, "-m", WORKER_MODULE]

    def start(self, index: int, folder: Path) -> WorkerLink:
        """Start the process of a worker and return its link. Raises UsageError if it cannot be started."""
        folder.mkdir(parents=True, exist_ok=True)
        try:
            with (folder / LOG).open("ab") as log:
                # A new process session: the interrupt of a terminal or a notebook kernel must not reach the load.
                process = subprocess.Popen(
                    self.command(index),
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log,
                    start_new_session=True,
                )
        except OSError as error:
            raise UsageError(f"cannot start worker {index}: {error.strerror}; use fewer workers") from error
        self._processes[index] = process
        assert process.stdout is not None and process.stdin is not None
        return WorkerLink(process.stdout, process.stdin)

    def folder(self, index: int, folder: Path) -> str:
        """Return the folder itself."""
        return str(folder.absolute())

    def results(self, index: int, results: Path) -> str:
        """Return the results folder itself."""
        return str(results.absolute())

    def collect(self, index: int, folder: Path) -> None:
        """Wait until the process of a worker has ended; its run folder is in its place already."""
        self._processes[index].wait()
        with contextlib.suppress(OSError):
            if (folder / LOG).stat().st_size == 0:
                (folder / LOG).unlink()

    def kill(self, index: int) -> None:
        """End the process of a worker at once, also a stopped one."""
        with contextlib.suppress(ProcessLookupError, PermissionError):
            if self._processes[index].poll() is None:
                os.killpg(self._processes[index].pid, signal.SIGKILL)
        self._processes[index].wait()

    def close(self) -> None:
        """End all processes."""
        for index in self._processes:
            self.kill(index)
