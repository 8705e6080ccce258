"""The kernel stamps arrivals on the wall clock; this turns such a stamp into one on the monotonic clock."""

import time

TRIES = 5


def monotonic_offset_ns() -> int:
    """What to add to a CLOCK_REALTIME stamp (ns) to get one of time.perf_counter_ns, right to about a microsecond.

    Of several readings the one counts whose two monotonic readings lie closest around the wall clock's. The offset
    changes only where the wall clock is stepped: both clocks are slewed alike.
    """
    best_width_ns, best_offset_ns = None, 0
    for _ in range(TRIES):
        before_ns = time.perf_counter_ns()
        wall_ns = time.time_ns()
        width_ns = time.perf_counter_ns() - before_ns
        if best_width_ns is None or width_ns < best_width_ns:
            best_width_ns, best_offset_ns = width_ns, before_ns + width_ns // 2 - wall_ns
    return best_offset_ns
