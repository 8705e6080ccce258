"""Readings of /metrics: recorded ones, those of other versions, broken ones, and what two of them say of a window."""

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st
from prometheus_client import CollectorRegistry, Histogram, generate_latest

from gptoss_bench.engines.registry import METRIC_SOURCES
from gptoss_bench.stats.percentiles import percentile
from gptoss_bench.telemetry.prometheus_metrics import TIMES, read_metrics, window
from gptoss_client.errors import UsageError
from recordings import WIRE

BEFORE, AFTER = ((WIRE / f"vllm-metrics_{when}.txt").read_text() for when in ("before", "after"))


def test_a_recorded_window_of_vllm():
    found = window(read_metrics(BEFORE, METRIC_SOURCES), read_metrics(AFTER, METRIC_SOURCES))
    assert (found.source, found.absent, found.restarted) == ("vllm", [], [])
    assert found.counts["prompt_tokens"] == 19240
    assert found.counts["generation_tokens"] == 9697
    assert found.times["ttft_s"].n == 136
    assert found.times["ttft_s"].mean == pytest.approx(0.0456885, abs=1e-6)
    assert found.times["ttft_s"].p50 == (0.04, 0.06)
    assert found.names["itl_s"] == "vllm:inter_token_latency_seconds"
    assert read_metrics(AFTER).gauges["running"] == 16


def test_names_of_older_versions_are_the_same_quantities():
    """0.10 to 0.11 by the words of its source; the numbers are those of the recording."""
    old = AFTER.replace("inter_token_latency_seconds", "time_per_output_token_seconds")
    old = old.replace("kv_cache_usage_perc", "gpu_cache_usage_perc").replace("vllm:prefix_", "vllm:gpu_prefix_")
    old = "".join(line for line in old.splitlines(keepends=True) if "request_time_per_output_token" not in line)
    new_times, old_times = read_metrics(AFTER), read_metrics(old)
    assert old_times.times["itl_s"] == new_times.times["itl_s"]
    assert old_times.names["itl_s"] == "vllm:time_per_output_token_seconds"
    assert old_times.gauges == new_times.gauges
    assert old_times.counts == new_times.counts
    assert window(old_times, old_times).absent == ["tpot_s"]


def test_llama_cpp_has_counters_and_no_histogram():
    found = read_metrics((WIRE / "llamacpp-metrics.txt").read_text(), METRIC_SOURCES)
    assert (found.source, dict(found.times)) == ("llama.cpp", {})
    assert (found.counts["prompt_tokens"], found.counts["prompt_tokens_cached"]) == (264, 420)
    assert found.counts["generation_tokens"] == 875
    assert found.gauges["running"] == 0
    assert window(found, found).absent == []


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", "names nothing"),
        ("# TYPE http_requests_total counter\nhttp_requests_total 3.0\n", "names nothing"),
        ("<html><title>404</title></html>", "not Prometheus text"),
        ('vllm:x{le="', "not Prometheus text"),
        ("vllm:generation_tokens_total many\n", "not Prometheus text"),
    ],
)
def test_what_cannot_be_read_is_said_in_words(text, words):
    with pytest.raises(UsageError, match=words) as reported:
        read_metrics(text)
    assert "\n" not in str(reported.value)


def test_a_server_that_was_restarted_between_the_readings_yields_no_difference():
    found = window(read_metrics(AFTER), read_metrics(BEFORE))
    assert {"ttft_s", "generation_tokens"} <= set(found.restarted)
    assert not {"ttft_s", "generation_tokens"} & {*found.times, *found.counts}


def test_two_models_of_one_server_are_added_up():
    twice = AFTER + AFTER.replace('model_name="gpt-oss-20b"', 'model_name="other"')
    one, two = read_metrics(AFTER), read_metrics(twice)
    assert two.times["ttft_s"].n == 2 * one.times["ttft_s"].n
    assert two.counts["generation_tokens"] == 2 * one.counts["generation_tokens"]


def test_a_value_that_is_no_number_is_left_out():
    odd = AFTER.replace("vllm:kv_cache_usage_perc{", "vllm:kv_cache_usage_perc_{")
    assert "kv_cache_share" not in read_metrics(odd).gauges
    assert "running" not in read_metrics("vllm:num_requests_running NaN\nvllm:num_requests_waiting 1\n").gauges


BUCKETS = (0.001, 0.01, 0.1, 1.0, 10.0)
TIMES_S = st.lists(st.floats(0, 100, allow_nan=False), min_size=1, max_size=60)


@given(first=TIMES_S, second=TIMES_S)
def test_a_window_holds_the_percentiles_of_what_came_in_it(first, second):
    """A real registry, read before and after: the true percentile lies within the bounds, the mean is exact."""
    registry = CollectorRegistry()
    histogram = Histogram(TIMES["ttft_s"][0], "-", registry=registry, buckets=(*BUCKETS, math.inf))
    readings = []
    for part in (first, second):
        for value in part:
            histogram.observe(value)
        readings.append(read_metrics(generate_latest(registry).decode()))
    found = window(*readings).times["ttft_s"]
    assert found.n == len(second)
    assert found.mean == pytest.approx(sum(second) / len(second), abs=1e-9)
    for name, p in (("p50", 50), ("p90", 90), ("p99", 99)):
        low, high = getattr(found, name)
        true = percentile(second, p).value
        assert low <= true + 1e-12
        assert high is None or true <= high + 1e-12
