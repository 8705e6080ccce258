"""How long a request waits for its first bytes, and for more of them."""

import time
from dataclasses import dataclass

from gptoss_bench.http1 import Response


@dataclass(frozen=True, slots=True)
class Waits:
    """The longest waits for the first bytes of a response's body, and for anything after those (s); None: no limit."""

    first_s: float | None = None
    idle_s: float | None = None

    def left_s(self, response: Response, sent_ns: int) -> float | None:
        """How much of the present wait is left; below 0 it is over."""
        limit_s, since_ns = (self.idle_s, response.reads[-1][1]) if response.parts else (self.first_s, sent_ns)
        return None if limit_s is None else limit_s - (time.perf_counter_ns() - since_ns) / 1e9
