"""Place the workers of a load on a Dask cluster that the user brings: one on each Dask worker, in a child process.

Dask only places a process and carries its run folder back. The coordinator talks to the process directly, over a TCP
connection that is its stdin and stdout, so that nothing of Dask runs in it or between it and the coordinator.
"""

import contextlib
import hmac
import io
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import tarfile
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from gptoss_bench import paths
from gptoss_bench.fleet.link import WorkerLink
from gptoss_bench.fleet.placement import LOG, WORKER_MODULE
from gptoss_client import RunFailed, UsageError

if TYPE_CHECKING:
    from distributed import Client, Future

CONNECT_S = 60.0  # to a worker that was just started
COLLECT_S = 600.0  # for the run folder of a worker
RETURN_S = 20.0  # in which a host of a killed Dask worker may come back
PREFIX = "gptoss-bench-"
WITH_PARENT = "--end-with-parent"

_listening: dict[str, socket.socket] = {}  # in a Dask worker, by token
_running: dict[str, "subprocess.Popen[bytes]"] = {}


class DaskFleet:
    """One worker on each Dask worker of a cluster (LocalCluster, SSHCluster, KubeCluster, Slurm and so on).

    The cluster needs this kit on every host, and the coordinator must reach the hosts of its workers over TCP. A task
    is pinned to its Dask worker and never run again: `retries` and the scheduler's `allowed-failures` are 0 while the
    fleet is in use. The API key comes from the environment of each Dask worker.
    """

    def __init__(self, client: "Client") -> None:
        """Take the client of a running cluster. Raises UsageError if it has no workers."""
        self._client = client
        self._addresses = sorted(client.scheduler_info(n_workers=-1)["workers"])
        if not self._addresses:
            raise UsageError("the Dask cluster has no workers: wait for them with client.wait_for_workers(n)")
        self._allowed: int | None = None
        self._tokens: dict[int, str] = {}
        self._places: dict[int, tuple[str, str]] = {}  # run folder and results folder, on the worker's host
        self._ends: dict[int, Future] = {}

    @classmethod
    def at(cls, address: str) -> "DaskFleet":
        """Return the fleet of the scheduler at dask://host:port. Raises UsageError if there is none."""
        parts = urlsplit(address)
        if parts.scheme != "dask" or not parts.hostname:
            raise UsageError(f"fleet must be dask://host:port of a Dask scheduler, not {address[:80]!r}")
        try:
            from distributed import Client
        except ImportError:
            raise UsageError("the package distributed is not installed: pip install 'gptoss-bench[scale]'") from None
        try:
            return cls(Client(f"tcp://{parts.hostname}:{parts.port or 8786}", timeout=10))
        except OSError as error:
            raise UsageError(f"no Dask scheduler answers at {address}: {error}") from error

    @property
    def count(self) -> int:
        """Number of workers: one on each Dask worker."""
        return len(self._addresses)

    def start(self, index: int, folder: Path) -> WorkerLink:
        """Start the process of a worker and return its link. Raises UsageError if it cannot be reached."""
        if self._allowed is None:
            self._allowed = self._client.run_on_scheduler(_allow_failures, allowed=0)
        address, token = self._addresses[index], secrets.token_hex(16)
        self._tokens[index] = token
        port, place, results = self._submit(_listen, token, address=address).result(timeout=CONNECT_S)
        self._places[index] = place, results
        self._ends[index] = self._submit(_run_process, token, place, address=address)
        host = urlsplit(address).hostname or ""
        try:
            connection = socket.create_connection((host, port), timeout=CONNECT_S)
        except OSError as error:
            raise UsageError(f"worker {index} cannot be reached at {host}:{port}: {error.strerror or error}") from error
        connection.settimeout(None)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        connection.sendall(token.encode())

        def hang_up() -> None:
            connection.shutdown(socket.SHUT_RDWR)

        return WorkerLink(connection.makefile("rb"), connection.makefile("wb"), hang_up)

    def folder(self, index: int, folder: Path) -> str:
        """Return the temporary folder of the worker on its host."""
        return self._places[index][0]

    def results(self, index: int, results: Path) -> str:
        """Return the results folder of the kit on the worker's host."""
        return self._places[index][1]

    def collect(self, index: int, folder: Path) -> None:
        """Bring the run folder of a worker here. Raises RunFailed if no Dask worker of its host answers."""
        with contextlib.suppress(Exception):  # of any kind that Dask has; what counts is whether the folder is there
            self._ends[index].result(timeout=COLLECT_S)
        place, deadline_s = self._places[index][0], time.monotonic() + RETURN_S
        while True:
            address = self._of_same_host(index)
            if address is not None:
                try:
                    packed = self._submit(_packed, place, address=address).result(timeout=COLLECT_S)
                    with tarfile.open(fileobj=io.BytesIO(packed)) as archive:
                        archive.extractall(folder, filter="data")
                    self._submit(shutil.rmtree, place, address=address).result(timeout=COLLECT_S)
                    return
                except (OSError, tarfile.TarError) as error:
                    raise RunFailed(f"the folder of worker {index} cannot be read: {error}") from error
                except Exception:  # the Dask worker was killed meanwhile
                    if time.monotonic() > deadline_s:
                        raise RunFailed(f"the host of worker {index} does not answer") from None
            elif time.monotonic() > deadline_s:
                raise RunFailed(f"the host of worker {index} does not answer")
            time.sleep(0.5)

    def kill(self, index: int) -> None:
        """End the process of a worker at once, if its Dask worker still runs."""
        address = self._addresses[index]
        if address in self._present():
            with contextlib.suppress(Exception):  # it has ended meanwhile
                self._client.run(_kill, self._tokens[index], workers=[address])

    def close(self) -> None:
        """End all processes, and give the scheduler its setting back."""
        for index, end in self._ends.items():
            if not end.done():
                self.kill(index)
        if self._allowed is not None:
            self._client.run_on_scheduler(_allow_failures, allowed=self._allowed)
            self._allowed = None

    def _submit(self, function: Any, *arguments: str, address: str) -> "Future":
        """Run a function on one Dask worker, or not at all."""
        return self._client.submit(
            function, *arguments, workers=[address], allow_other_workers=False, retries=0, pure=False
        )

    def _present(self) -> set[str]:
        return set(self._client.scheduler_info(n_workers=-1)["workers"])

    def _of_same_host(self, index: int) -> str | None:
        """Return the Dask worker, or another one of its host; a nanny starts a killed one again at another port."""
        address, present = self._addresses[index], self._present()
        same = [one for one in sorted(present) if urlsplit(one).hostname == urlsplit(address).hostname]
        return address if address in present else same[0] if same else None


def _allow_failures(allowed: int, dask_scheduler: Any = None) -> int:
    """Set how often the scheduler runs a task again whose worker died, and return the setting before."""
    before: int = dask_scheduler.allowed_failures
    dask_scheduler.allowed_failures = allowed
    return before


def _listen(token: str) -> tuple[int, str, str]:
    """Listen for the coordinator; return the port, a new folder for the run, and the kit's results folder."""
    listener = socket.create_server(("", 0), backlog=4)
    listener.settimeout(CONNECT_S)
    _listening[token] = listener
    return listener.getsockname()[1], tempfile.mkdtemp(prefix=PREFIX), str(paths.RESULTS)


def _run_process(token: str, place: str) -> int:
    """Run the process of a worker on the connection of the coordinator, and return its exit code."""
    with _listening.pop(token) as listener:
        connection = _accepted(listener, token)
    with connection, (Path(place) / LOG).open("ab") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", WORKER_MODULE, WITH_PARENT],
            stdin=connection.fileno(),
            stdout=connection.fileno(),
            stderr=log,
            start_new_session=True,
        )
    _running[token] = process
    try:
        return process.wait()
    finally:
        del _running[token]


def _accepted(listener: socket.socket, token: str) -> socket.socket:
    """Return the connection whose first bytes are the token; others are closed."""
    while True:
        connection, _ = listener.accept()
        connection.settimeout(CONNECT_S)
        with contextlib.suppress(OSError):
            given = connection.recv(len(token), socket.MSG_WAITALL)
            if hmac.compare_digest(given, token.encode()):
                connection.settimeout(None)
                connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                return connection
        connection.close()


def _kill(token: str) -> None:
    with contextlib.suppress(ProcessLookupError, KeyError):
        os.killpg(_running[token].pid, signal.SIGKILL)


def _packed(place: str) -> bytes:
    """Return the files of a folder as a tar archive: Parquet files are compressed already."""
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for file in sorted(Path(place).iterdir()):
            archive.add(file, file.name)
    return packed.getvalue()
