"""The offset of another clock is right to within its stated bound, whatever the way there and back took."""

from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.fleet.clock import ClockOffset, ClockProbe, clock_offset, worker_clock

WAYS = st.lists(st.tuples(*[st.integers(0, 10**8)] * 3), min_size=1, max_size=20)


@given(st.integers(-(10**15), 10**15), WAYS)
def test_the_true_offset_is_within_the_bound(ahead_ns: int, ways: list[tuple[int, int, int]]) -> None:
    probes, now_ns = [], 10**12
    for there_ns, between_ns, back_ns in ways:
        received_ns = now_ns + there_ns + ahead_ns
        returned_ns = now_ns + there_ns + between_ns + back_ns
        probes.append(ClockProbe(now_ns, received_ns, received_ns + between_ns, returned_ns))
        now_ns = returned_ns
    found = clock_offset(probes)
    assert abs(found.offset_ns - ahead_ns) <= found.bound_ns
    assert found.bound_ns == min(probe.round_trip_ns for probe in probes) // 2 + 1


@given(st.integers(-(10**9), 10**9), st.integers(0, 10**6), st.integers(-(10**6), 10**6), st.floats(0, 1))
def test_a_clock_that_drifts_evenly_is_within_the_bound_at_all_times(
    ahead_ns: int, bound_ns: int, apart_ns: int, part: float
) -> None:
    before = ClockOffset(ahead_ns, bound_ns, 0)
    after = ClockOffset(ahead_ns + apart_ns, bound_ns, 60 * 10**9)
    clock = worker_clock(before, after)
    meanwhile_ns = ahead_ns + apart_ns * part
    assert abs(clock.offset_ns - meanwhile_ns) <= clock.bound_ns - bound_ns + 1
    assert clock.drift_ppm == apart_ns / (60 * 10**9) * 1e6


def test_a_clock_that_was_asked_once_has_no_drift() -> None:
    clock = worker_clock(ClockOffset(7, 3, 0), None)
    assert (clock.offset_ns, clock.bound_ns, clock.drift_ppm) == (7, 3, None)
