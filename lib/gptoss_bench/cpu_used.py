"""The CPU that this process used between two moments."""

import time


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
