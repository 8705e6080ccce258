"""Read CPU and memory of the machine, the client and the processes of the engine."""

import contextlib
import os
import time
from typing import Any

import psutil

LOOK_AGAIN_S = 1.0  # which processes the engine has changes seldom, and looking costs more than a sample


class Host:
    """The machine, the client's process, and the engine's: the one that listens on its port and all below it."""

    def __init__(self, client: int) -> None:
        """`client` is its process id. The engine is not known before `watch`."""
        self._client = client
        self._port: int | None = None
        self._looked_s = -LOOK_AGAIN_S
        self._engine: list[psutil.Process] | None = None

    def watch(self, port: int | None) -> None:
        """From now on the engine is whoever listens on that port of this machine; None: it is elsewhere."""
        self._port, self._looked_s, self._engine = port, -LOOK_AGAIN_S, None

    @property
    def ours(self) -> set[int] | None:
        """The process ids of client and engine; None where the engine's cannot be seen."""
        return None if self._engine is None else {self._client, *(process.pid for process in self._engine)}

    def sample(self) -> dict[str, Any]:
        """Now: seconds of CPU time since each began (the machine's over all cores), and memory in bytes."""
        if time.monotonic() - self._looked_s >= LOOK_AGAIN_S:
            self._look()
        cpu, memory = psutil.cpu_times(), psutil.virtual_memory()
        steal = getattr(cpu, "steal", 0.0)
        idle = cpu.idle + getattr(cpu, "iowait", 0.0)
        # Linux counts a guest's time inside user and nice already.
        total = sum(cpu) - getattr(cpu, "guest", 0.0) - getattr(cpu, "guest_nice", 0.0)
        own = psutil.Process(self._client) if psutil.pid_exists(self._client) else None
        return {
            "cpu_total_s": total,
            "cpu_busy_s": total - idle - steal,
            "cpu_steal_s": steal,
            "memory_used_bytes": memory.total - memory.available,
            "memory_total_bytes": memory.total,
            **_of([own] if own else [], "client"),
            **_of(self._engine, "engine"),
            "sampler_cpu_s": time.process_time(),
        }

    def _look(self) -> None:
        """Find the engine's processes: the listener and all below it."""
        self._looked_s = time.monotonic()
        if self._port is None:
            return
        if not self._engine or not self._engine[0].is_running():
            listener = _listener(self._port)
            self._engine = None if listener is None else [psutil.Process(listener)]
        if self._engine:
            with contextlib.suppress(psutil.Error):
                first = self._engine[0]
                self._engine = [first, *(each for each in first.children(recursive=True) if each.pid != os.getpid())]


def _listener(port: int) -> int | None:
    """The process that listens there; None where there is none, or it is another user's."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    found = [each.pid for each in sockets if each.status == psutil.CONN_LISTEN and each.laddr.port == port]
    return next((pid for pid in found if pid), None)


def _of(processes: list[psutil.Process] | None, name: str) -> dict[str, Any]:
    """CPU seconds and resident bytes of these together; those that have ended are left out."""
    if processes is None:
        return {f"{name}_cpu_s": None, f"{name}_rss_bytes": None, f"{name}_processes": None}
    cpu_s, rss, count = 0.0, 0, 0
    for process in processes:
        with contextlib.suppress(psutil.Error):
            with process.oneshot():
                times = process.cpu_times()
                rss += process.memory_info().rss
            cpu_s += times.user + times.system
            count += 1
    return {f"{name}_cpu_s": cpu_s, f"{name}_rss_bytes": rss, f"{name}_processes": count}


class CpuUsed:
    """`cpu_s` in seconds, `cpu_share` of one core; None where there was no start or no stop."""

    def __init__(self) -> None:
        """Nothing was used yet."""
        self.cpu_s: float | None = None
        self.cpu_share: float | None = None
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        """Count from here."""
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """The first stop counts."""
        if self._began is not None:
            wall_s, self.cpu_s = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
            self.cpu_share, self._began = self.cpu_s / wall_s, None
