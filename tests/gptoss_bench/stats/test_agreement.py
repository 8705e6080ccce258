"""Client against server: hand-drawn requests and windows, and a real server that keeps real histograms."""

import asyncio
import time

import pytest
from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import ErrorBar, ErrorMedianAndTail, HistogramTimes, ServerMetrics
from gptoss_bench.session.session import serving
from gptoss_bench.stats.agreement import FIRST_EVENT, agreement_table, client_server_agreement
from gptoss_client.plan import LoadPlan
from scripted import END, HEAD, Exchange, chunk, ending, event, scripted
from streams import DONE, answer, chat, counted, finish, trace

REPLIES = [chat(10, 20, 3, n, sent_ms=60.0 * n) for n in range(4)]  # first event at 10 ms, end at 51 ms, 3 tokens


def rows(traces, window=None):
    requests, _ = derive_tables(traces)
    return {(row.quantity, row.statistic): row for row in client_server_agreement(requests, window)}


def histogram(mean, *bounds, n=4):
    return HistogramTimes(n=n, mean=mean, p50=bounds, p90=bounds, p99=bounds)


def window(counts=(), **times):
    names = dict.fromkeys(times, "vllm:of_that_version")
    return ServerMetrics(source="vllm", times=times, counts=dict(counts), names=names)


@pytest.mark.parametrize(
    ("mean", "bounds", "of_mean", "of_bucket"),
    [
        pytest.param(0.009, (0.005, 0.010), True, None, id="the client is longer by the way"),
        pytest.param(0.010, (0.0095, 0.011), True, True, id="the same"),
        pytest.param(0.004, (0.001, 0.004), False, False, id="the client waited for something else"),
        pytest.param(0.014, (0.012, 0.020), False, False, id="the client cannot be the shorter one"),
        pytest.param(0.010, (0.005, None), True, None, id="beyond the last bucket"),
    ],
)
def test_a_first_token_is_held_to_the_servers_span_and_the_stated_error(mean, bounds, of_mean, of_bucket):
    found = rows(REPLIES, window(ttft_s=histogram(mean, *bounds)))
    assert found[FIRST_EVENT, "mean"].client == pytest.approx(0.010)
    assert found[FIRST_EVENT, "mean"].agrees is of_mean
    assert found[FIRST_EVENT, "p50"].agrees is of_bucket
    assert found[FIRST_EVENT, "p50"].error >= 0.005


def test_a_row_states_the_smallest_difference_that_it_could_have_seen():
    found = rows(REPLIES, window(ttft_s=histogram(0.010, 0.010, 0.020)))
    assert found[FIRST_EVENT, "mean"].power == pytest.approx(0.0055)  # 5 ms and 5 %
    assert found[FIRST_EVENT, "mean"].word == "agrees"
    assert found[FIRST_EVENT, "p50"].power == pytest.approx(0.016)  # and the width of the bucket
    assert (found[FIRST_EVENT, "p50"].word, found[FIRST_EVENT, "p50"].agrees) == ("no power", None)
    assert found[FIRST_EVENT, "p50"].allowance.startswith("assumed")


def test_a_difference_far_outside_of_a_wide_bucket_is_seen():
    found = rows(REPLIES, window(ttft_s=histogram(0.5, 0.2, 0.8)))[FIRST_EVENT, "p50"]
    assert (found.word, found.agrees) == ("disagrees", False)


@pytest.mark.parametrize(("server_s", "word"), [(0.0098, "agrees"), (0.0095, "disagrees"), (0.0105, "disagrees")])
def test_the_allowance_comes_from_a_null_run(server_s, word):
    errors = ErrorMedianAndTail(p50=0.00001, p99=0.0002)
    bar = ErrorBar(
        calibration="20261124T090000Z-calibration-0a1b2c",
        ttft_s=errors,
        itl_s=errors,
        contended_ttft_s=ErrorMedianAndTail(p99=0.0001),
    )
    requests, _ = derive_tables(REPLIES)
    first, *_ = client_server_agreement(requests, window(ttft_s=histogram(server_s, 0.0095, 0.011)), bar)
    assert first.error == pytest.approx(0.0002 + 0.01 * server_s)
    assert (first.word, first.allowance) == (word, f"null run {bar.calibration}, and 1%")


def test_what_counted_other_requests_is_not_judged():
    found = rows(REPLIES, window(ttft_s=histogram(0.5, 0.5, 1.0, n=9)))
    assert {row.agrees for row in found.values()} == {None}
    assert found[FIRST_EVENT, "mean"].apart == pytest.approx(-0.490)


def test_decode_and_tokens_by_the_servers_definition():
    found = rows(REPLIES, window(decode_s=histogram(0.041, 0.04, 0.06), tpot_s=histogram(0.0205, 0.01, 0.025)))
    assert found["decode: first event to end", "mean"].client == pytest.approx(0.041)
    assert found["decode / (tokens - 1)", "mean"].client == pytest.approx(0.0205)
    assert all(row.agrees for row in found.values())


def test_the_gap_between_tokens_is_judged_where_every_step_brought_one():
    """In vLLM 0.10 this histogram is all that tells of decoding, under its older name."""
    one = histogram(0.0205, 0.01, 0.025, n=8)
    found = rows(REPLIES, window(itl_s=one))["gap between tokens", "mean"]
    assert (found.client, found.client_n, found.agrees) == (pytest.approx(0.0205), 8, True)
    assert rows(REPLIES, window(itl_s=one.model_copy(update={"n": 5})))["gap between tokens", "mean"].agrees is None


def test_counters_have_no_error():
    counts = {"requests": 4.0, "prompt_tokens": 88.0 * 4, "generation_tokens": 12.0}
    found = rows(REPLIES, window(counts))
    assert {row.agrees for row in found.values()} == {True}
    found = rows(REPLIES, window(counts | {"generation_tokens": 13.0}))
    assert found["output tokens", "sum"].agrees is False
    cut = trace([(10, answer())], 9, sent_ms=300, ending="cut")
    assert rows([*REPLIES, cut], window(counts))["output tokens", "sum"].agrees is None


def test_llama_cpp_counts_cached_prompt_tokens_apart():
    counts = {"prompt_tokens": 52.0, "prompt_tokens_cached": 300.0, "generation_tokens": 12.0}
    found = rows(REPLIES, ServerMetrics(source="llama.cpp", counts=counts))
    assert found["prompt tokens", "sum"].agrees is True


def timed(n, eval_ms):
    timings = {"predicted_n": 11, "predicted_ms": eval_ms, "prompt_ms": 20.0}
    texts = [(40 + at * 10, answer(usage=counted(at + 1))) for at in range(11)]
    return trace([*texts, (140, finish()), (140, answer("", timings=timings)), (140, DONE)], n, sent_ms=200.0 * n)


@pytest.mark.parametrize(("eval_ms", "agrees"), [(100.0, True), (98.0, True), (80.0, False), (130.0, False)])
def test_timings_that_came_with_the_responses_are_held_request_against_request(eval_ms, agrees):
    found = rows([timed(n, eval_ms) for n in range(5)])["decode: first event to end", "p50"]
    assert (found.server_low, found.client_n) == (eval_ms / 1e3, 5)
    assert found.agrees is agrees


def test_where_the_server_tells_nothing_there_is_no_row_and_the_table_keeps_its_columns():
    assert rows(REPLIES) == {}
    assert rows(REPLIES, ServerMetrics(words="it has no /metrics (HTTP 404)")) == {}
    assert rows([]) == {}
    assert list(agreement_table([]).columns)[:2] == ["quantity", "statistic"]


class Kept:
    """A server that answers slowly and keeps vLLM's histograms of it, times `lie`."""

    def __init__(self, lie: float) -> None:
        registry, buckets = CollectorRegistry(), (0.01, 0.04, 0.06, 0.08, 0.1, 0.25, 0.5, 1.0)
        names = {"ttft": "time_to_first_token_seconds", "e2e": "e2e_request_latency_seconds"}
        self.times = {
            key: Histogram(f"vllm:{name}", "-", registry=registry, buckets=buckets) for key, name in names.items()
        }
        counters = {"requests": "request_success", "prompt": "prompt_tokens", "output": "generation_tokens"}
        self.counts = {key: Counter(f"vllm:{name}", "-", registry=registry) for key, name in counters.items()}
        self.lie = lie
        self.text = lambda: generate_latest(registry)

    async def answer(self, exchange: Exchange) -> None:
        began_s = time.perf_counter()
        await asyncio.sleep(0.08)
        self.times["ttft"].observe((time.perf_counter() - began_s) * self.lie)
        await exchange.send(HEAD, chunk(event(role="assistant", content="")), chunk(event(content="a")))
        await asyncio.sleep(0.02)
        self.times["e2e"].observe((time.perf_counter() - began_s) * self.lie)
        for key, count in (("requests", 1), ("prompt", 7), ("output", 2)):
            self.counts[key].inc(count)
        await exchange.send(chunk(event(content="b")), chunk(ending(2)), END)


async def measured(kept, results, **documents):
    async with scripted(kept.answer) as server:
        server.documents |= {"/v1/models": {"data": [{"id": "m"}]}, **documents}
        plan = LoadPlan(concurrency=2, requests=12, warmup=2)
        choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
        async with serving("test", choice, plan=plan, results_dir=str(results)) as session:
            await session.load(plan)
        return session.finish(), {finding.rule for finding in session.findings}


def test_a_real_server_that_tells_the_truth_is_confirmed(tmp_path):
    kept = Kept(lie=1.0)
    run, rules = asyncio.run(measured(kept, tmp_path, **{"/metrics": kept.text}))
    found = {(row.quantity, row.statistic): row for row in run.summary.agreement}
    assert run.summary.server_metrics.times["ttft_s"].n == 12  # the warm-up is not in it
    assert found["output tokens", "sum"].server_low == 24
    assert {found[name, "sum"].agrees for name in ("requests", "prompt tokens", "output tokens")} == {True}
    first = found[FIRST_EVENT, "mean"]
    assert first.client >= first.server_low - 0.001  # how much later depends on who else wants the cores
    assert "server-shared" not in rules


def test_a_server_that_lies_about_its_first_token_is_named(tmp_path):
    kept = Kept(lie=0.25)
    run, rules = asyncio.run(measured(kept, tmp_path, **{"/metrics": kept.text}))
    assert "server-and-client-disagree" in rules
    assert next(row for row in run.summary.agreement if row.quantity == FIRST_EVENT).agrees is False


@pytest.mark.parametrize(
    ("documents", "words"),
    [
        ({}, "no /metrics (HTTP 404)"),
        ({"/metrics": b"# nothing here\n"}, "names nothing"),
        ({"/metrics": b"<html>hello</html>"}, "not Prometheus text"),
    ],
)
def test_metrics_that_are_absent_or_renamed_are_reported_and_the_run_is_whole(tmp_path, documents, words):
    run, _ = asyncio.run(measured(Kept(lie=1.0), tmp_path, **documents))
    assert run.manifest.status == "complete"
    assert words in run.summary.server_metrics.words
    assert run.summary.agreement == []
