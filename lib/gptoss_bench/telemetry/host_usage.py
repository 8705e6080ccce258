"""Read CPU and memory of the machine, the client and the processes of the engine."""

import contextlib
import os
import time

import psutil

HostRow = dict[str, float | int | None]
LOOK_AGAIN_S = 1.0  # the engine's processes change seldom, and finding them costs more than a sample


class Host:
    """The machine, the process of the client, and those of the engine: the listener on its port and its descendants."""

    def __init__(self, client: int) -> None:
        """Take the process id of the client. The engine is unknown before `watch`."""
        self._client = client
        self._port: int | None = None
        self._looked_s = -LOOK_AGAIN_S
        self._engine: list[psutil.Process] | None = None

    def watch(self, port: int | None) -> None:
        """Take the process that listens on this port of this machine as the engine; None: it is on another machine."""
        self._port, self._looked_s, self._engine = port, -LOOK_AGAIN_S, None

    @property
    def ours(self) -> set[int] | None:
        """Return the process ids of client and engine; None if those of the engine are unknown."""
        return None if self._engine is None else {self._client, *(process.pid for process in self._engine)}

    def sample(self) -> HostRow:
        """Return CPU seconds since the start of each (of the machine: over all cores) and memory in bytes, now."""
        if time.monotonic() - self._looked_s >= LOOK_AGAIN_S:
            self._look()
        cpu, memory = psutil.cpu_times(), psutil.virtual_memory()
        steal = getattr(cpu, "steal", 0.0)
        idle = cpu.idle + getattr(cpu, "iowait", 0.0)
        # On Linux user and nice include the time of guests.
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
    """Return the process that listens on a port; None if there is none, or it belongs to another user."""
    try:
        sockets = psutil.net_connections(kind="tcp")
    except (psutil.Error, OSError):
        return None
    found = [each.pid for each in sockets if each.status == psutil.CONN_LISTEN and each.laddr.port == port]
    return next((pid for pid in found if pid), None)


def _of(processes: list[psutil.Process] | None, name: str) -> HostRow:
    """Return the sums of CPU seconds and resident bytes; processes that have ended are left out."""
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
    """CPU time of this process between start and stop: `cpu_s` in seconds, `cpu_share` of one core; None before."""

    def __init__(self) -> None:
        """Set both to None."""
        self.cpu_s: float | None = None
        self.cpu_share: float | None = None
        self._began: tuple[float, float] | None = None

    def start(self) -> None:
        """Start to count."""
        self._began = (time.perf_counter(), time.process_time())

    def stop(self) -> None:
        """Stop to count; a second call has no effect."""
        if self._began is not None:
            wall_s, self.cpu_s = time.perf_counter() - self._began[0], time.process_time() - self._began[1]
            self.cpu_share, self._began = self.cpu_s / wall_s, None
