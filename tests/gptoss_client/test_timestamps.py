"""The offset between wall clock and monotonic clock, also when the wall clock is set."""

import pytest

from gptoss_client.timestamps import WallClock


class Clocks:
    """Two clocks that advance by 100 ns whenever one is read, the wall clock ahead by `ahead_ns`."""

    def __init__(self, ahead_ns: int) -> None:
        self.now_ns, self.ahead_ns, self.pause_ns = 0, ahead_ns, 0

    def monotonic(self) -> int:
        self.now_ns += 100 + self.pause_ns
        return self.now_ns

    def wall(self) -> int:
        return self.monotonic() + self.ahead_ns


def clock_at(ahead_ns: int) -> tuple[Clocks, WallClock]:
    clocks = Clocks(ahead_ns)
    return clocks, WallClock(clocks.wall, clocks.monotonic)


@pytest.mark.parametrize("ahead_ns", [0, 10**18, -(10**9)])
def test_the_offset_is_what_lies_between_the_clocks(ahead_ns):
    assert clock_at(ahead_ns)[1].offset_ns == ahead_ns


@pytest.mark.parametrize("step_ns", [10**9, -(10**9), 200_000])
def test_a_step_is_noticed_once_and_followed(step_ns):
    clocks, wall = clock_at(10**18)
    wall.remeasure()
    assert (wall.steps, wall.stepped_ns) == (0, 0)
    clocks.ahead_ns += step_ns
    wall.remeasure()
    wall.remeasure()
    assert (wall.steps, wall.offset_ns) == (1, 10**18 + step_ns)
    assert 0 < wall.stepped_ns <= clocks.now_ns


def test_a_reading_that_was_interrupted_is_left_out():
    clocks, wall = clock_at(10**18)
    clocks.pause_ns = 10**6
    wall.remeasure()
    assert (wall.steps, wall.offset_ns) == (0, 10**18)
