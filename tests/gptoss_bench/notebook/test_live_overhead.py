"""Watching a load does not change what its client measures: its errors with and without the live view."""

import asyncio

import pytest

from gptoss_bench.calibration.accuracy import CalibrationLevel, ErrorSpread, levels_table
from gptoss_bench.notebook.live_overhead import OVERHEAD_COLUMNS, UNWATCHED, WATCHED, errors_agree, measure_overhead
from gptoss_client.errors import UsageError

SMALL = ErrorSpread(p50=0.01, p99=0.02, max=0.03)
SPREADS = dict.fromkeys(("ttft_error", "itl_error", "arrival_error", "lag", "server_late"), SMALL)
LOAD = {"streams": 4, "tokens_s": 40.0, "events": 100, "offered_events_s": 160.0, "unmatched": 0, "events_s": 150.0}
FOUND = {"cpu_share": 0.05, "itl_p50_ms": 25.0, "trusted": True, "client_bound": False}
LEVEL = CalibrationLevel(client=UNWATCHED, **LOAD, **SPREADS, **FOUND)


@pytest.mark.alone
def test_the_error_bar_is_the_same_with_and_without_a_live_view():
    for _ in range(3):  # a hiccup of the machine in one of the two is no effect of watching
        levels = asyncio.run(measure_overhead(4, 40, tokens=16, waves=6))
        assert [one.client for one in levels] == [UNWATCHED, WATCHED]
        assert [one.unmatched for one in levels] == [0, 0] and levels[0].events == levels[1].events > 4 * 6 * 16
        if errors_agree(levels) and all(one.trusted is not False for one in levels):
            break
    else:
        pytest.fail(f"watching changed the errors:\n{levels_table(levels)[OVERHEAD_COLUMNS]}")


@pytest.mark.parametrize("name", ["ttft_error", "itl_error"])
def test_two_levels_agree_within_the_share_of_the_gap_that_an_error_may_have(name):
    # 5 % of 25 ms, from 0.02 on
    assert errors_agree([LEVEL, LEVEL.model_copy(update={name: ErrorSpread(p50=0.01, p99=1.26, max=2.0)})])
    assert not errors_agree([LEVEL, LEVEL.model_copy(update={name: ErrorSpread(p50=0.01, p99=1.28, max=2.0)})])
    assert not errors_agree([LEVEL, LEVEL.model_copy(update={name: ErrorSpread(p50=None, p99=None, max=None)})])
    assert not errors_agree([LEVEL, LEVEL.model_copy(update={"itl_p50_ms": None})])


def test_an_invalid_rate_is_refused():
    with pytest.raises(UsageError, match="must be above 0, not 0"):
        asyncio.run(measure_overhead(4, 0))
