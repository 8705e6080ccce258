"""The sentences below the figure of a search have its own numbers, in each form of the result."""

from gptoss_bench import readings
from gptoss_bench.runs import Capacity, CapacityGoal, LoadSummary, Manifest, Slo
from gptoss_bench.runs.capacity import CapacityLevel
from gptoss_bench.stats.capacity import capacity_text, price_text

SLO = Slo(ttft_s=0.5)


def level(at: float, met: int, **values) -> CapacityLevel:
    return CapacityLevel(phase=f"capacity-{at:g}-1", level=at, requests=200, met=met, **values)


CARRIES = Capacity(
    goal=CapacityGoal(),
    levels=[level(30, 60), level(1, 200), level(40, 100, limited=["late"])],
    word="carries", value=20.0, low=19.0, high=21.0, slope=12.0, dispersion=2.5, output_tok_s=1000.0,
)  # fmt: skip


def test_a_search_with_a_result_has_its_ends_its_slope_its_dispersion_and_what_is_no_evidence() -> None:
    text = readings.share_within_slo(LoadSummary(capacity=CARRIES, slo=SLO))
    assert "From 1 to 30 requests/s (2 levels) the share of requests within the SLO went from 100.0% to 30.0%." in text
    # The odds of a miss rise by 1.1^12 from 1 : 19.
    share = 1 / (1 + 1.1**12 / 19)
    assert f"crosses 95 % at 20 requests/s; at 10% more load it gives {share:.0%}." in text
    assert "Levels differ 2.5 times as much" in text
    assert text.endswith("At 40 requests/s the client may have been the limit, so these levels do not count.")


def test_a_search_without_an_interval_says_why() -> None:
    why = "the search ended before a level missed the SLO"
    found = Capacity(levels=[level(1, 200), level(2, 200)], word="at least", low=2.0, why=why)
    text = readings.share_within_slo(LoadSummary(capacity=found, slo=SLO))
    assert "the share of requests within the SLO was 100.0% at both ends" in text
    assert text.endswith(f"There is no value with an interval: {why}.")
    one = Capacity(levels=[level(2, 200), level(2, 100)], why=why)
    assert "At 2 requests/s 75.0% of 400 requests were" in readings.share_within_slo(LoadSummary(capacity=one, slo=SLO))


def test_without_a_search_or_evidence_there_is_no_number() -> None:
    assert readings.share_within_slo(LoadSummary()) == "No capacity was searched for."
    assert readings.capacity_finding(LoadSummary(), Manifest()) == "No capacity was searched for."
    limited = Capacity(levels=[level(4, 10, limited=["late"])], why="late")
    text = readings.share_within_slo(LoadSummary(capacity=limited, slo=SLO))
    assert text.startswith("No level shows what the server carries.")


def test_the_finding_is_the_result_with_its_label_and_the_price_that_was_asked_for() -> None:
    summary = LoadSummary(capacity=CARRIES, slo=SLO)
    result = capacity_text(CARRIES, SLO).removeprefix("this")
    assert readings.capacity_finding(summary, Manifest()) == f"This{result}."
    first, second = readings.capacity_finding(summary, Manifest(labels=["TINY MODEL"]), 3.6).splitlines()
    assert first == f"TINY MODEL: This{result}."
    assert second == f"TINY MODEL: At{price_text(CARRIES, 3.6).removeprefix('at')}."


def test_a_load_after_the_search_that_missed_the_slo_is_told_where_there_is_no_interval() -> None:
    found = Capacity(levels=[level(2, 200), level(4, 20)], word="between", low=2.0, high=4.0, why="too few levels")
    kept, missed = (LoadSummary(capacity=found, slo=SLO, goodput_share=share) for share in (0.95, 0.594))
    assert len(readings.capacity_finding(kept, Manifest()).splitlines()) == 1
    told = readings.capacity_finding(missed, Manifest()).splitlines()[1]
    assert told.startswith("The load after the search, at 2 requests/s again, missed the SLO: 59.4% of its requests")
    beside = LoadSummary(capacity=CARRIES, slo=SLO, goodput_share=0.94)
    assert len(readings.capacity_finding(beside, Manifest()).splitlines()) == 1
