"""The bench: client reports compared with a log by hand, the table of ratios, the processes; a real, small bench."""

import asyncio
import json
import sys
from dataclasses import replace

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.contention import busy_cores
from gptoss_bench.calibration.peers.registry import ALL_CLIENTS, Job, choose_peers, peer_version
from gptoss_bench.calibration.peers.reports import GAPS, MEANS, PeerReport, read_report, report_errors
from gptoss_bench.calibration.peers.run import PeerLoad, PeerRow, compare_clients
from gptoss_bench.calibration.peers.table import (
    PeerBenchManifest,
    best_peer_ratios,
    create_peer_bench,
    load_peer_bench,
    peer_bench_markdown,
    peer_medians,
    short_number,
    write_peer_bench,
)
from gptoss_bench.calibration.reference.send_log import SEND_LOG_COLUMNS
from gptoss_bench.cli.main import main
from gptoss_bench.runs.manifest import CodeVersion, Machine
from gptoss_client.errors import RunFailed, UsageError
from streams import MS

PEER = {peer.name: peer for peer in ALL_CLIENTS}


def reference(sends_ms):
    """A log: by stream, the true sends of its outputs, asked at 0."""
    rows = [
        (stream, event, "output", True, 1, 0, at, at, at + 1, None)
        for stream, sends in sends_ms.items()
        for event, at in enumerate(int(ms * MS) for ms in sends)
    ]
    return pd.DataFrame(rows, columns=list(SEND_LOG_COLUMNS)).astype(SEND_LOG_COLUMNS)


LOG = reference({3: [200, 225, 250], 4: [200, 225, 250], 5: [210, 230, 260]})
REQUESTS = pd.DataFrame({"request_id": [0, 1, 2], "ttft_s": [0.211, 0.9, 0.202]})
STREAMS = pd.Series({0: 5, 1: 3, 2: 4}, name="stream")
CHUNKS = pd.DataFrame(
    {
        "request_id": [0, 0, 0, 1, 1, 1, 2, 2, 2],
        "event": [0, 1, 2] * 3,
        "arrival_ns": 0,
        "itl_s": [None, 0.021, 0.03, None, 0.5, 0.5, None, 0.025, 0.025],
    }
)


def test_errors_are_those_of_the_requests_after_the_first_wave_whatever_ids_they_have():
    found = report_errors(PeerReport(REQUESTS, STREAMS, CHUNKS), 1, LOG)  # stream 3 came first: request 1 is warm-up
    assert (found.requests, found.itl_of) == (2, GAPS)
    assert (found.ttft_p50_ms, found.itl_p99_ms) == (pytest.approx(1.5), pytest.approx(0.97))


def test_a_client_that_left_its_first_wave_out_loses_no_other():
    assert report_errors(PeerReport(REQUESTS, STREAMS, CHUNKS, warm=True), 1, LOG).requests == 3


def test_a_mean_is_compared_with_the_true_mean_of_the_same_request():
    means = pd.Series({0: 0.026, 1: 0.5, 2: 0.025})
    found = report_errors(PeerReport(REQUESTS, STREAMS, None, means), 1, LOG)
    assert (found.itl_of, found.itl_p99_ms) == (MEANS, pytest.approx(0.99))


def test_nothing_reported_is_no_number():
    found = report_errors(PeerReport(REQUESTS[:0], STREAMS[:0], CHUNKS[:0]), 1, LOG)
    assert (found.requests, found.ttft_p50_ms, found.itl_p99_ms) == (0, None, None)


def test_the_reports_of_the_tools_are_read_by_the_id_of_the_reply(tmp_path):
    rows = [
        {"response_id": "chatcmpl-reference-00000007", "time_to_first_token_ms": 212.0, "inter_token_latency_ms": 25.0}
    ]
    job = Job("http://x", 1, 2, 3, tmp_path)
    job.out.write_text(json.dumps({"benchmarks": [{"requests": {"successful": rows}}]}))
    reported = read_report(PEER["guidellm"], job)
    assert (reported.requests.ttft_s[0], reported.streams[0], reported.means[0], reported.events) == (
        0.212,
        7,
        0.025,
        None,
    )

    (tmp_path / "aiperf").mkdir()
    known = {"metadata": {"x_request_id": "a"}}
    metrics = {"time_to_first_token": {"value": 212.0}, "inter_chunk_latency": {"value": [25.0]}}
    deltas = [{"role": "assistant", "content": ""}, {"content": "x"}, {"content": "y"}, {}]
    messages = [json.dumps({"id": "chatcmpl-reference-00000008", "choices": [{"delta": delta}]}) for delta in deltas]
    responses = [{"perf_ns": at, "packets": [{"value": value}]} for at, value in enumerate([*messages, "[DONE]"])]
    (tmp_path / "aiperf/profile_export.jsonl").write_text(json.dumps(known | {"metrics": metrics}))
    (tmp_path / "aiperf/profile_export_raw.jsonl").write_text(json.dumps(known | {"responses": responses}))
    reported = read_report(PEER["aiperf"], job)
    assert (reported.requests.ttft_s[0], reported.streams[0]) == (0.212, 8)
    assert reported.events.itl_s.dropna().to_dict() == {2: 0.025}


def test_reports_without_ids_are_matched_in_the_order_of_sending(tmp_path):
    job = Job("http://x", 1, 2, 3, tmp_path)
    gaps = [0.0, 0.021, 0.03, 0.0001]  # from the role chunk to the first token, two gaps, to the finish chunk
    content = {"start_times": [2e-3, 1e-3], "ttfts": [0.202, 0.201], "itls": [gaps, gaps]}
    job.out.write_text(json.dumps(content))
    compiled = read_report(PEER["vllm-rs"], job)
    assert compiled.streams is None and compiled.requests.sent_ns.to_list() == [2_000_000, 1_000_000]
    assert compiled.events.itl_s.dropna().to_list() == [0.021, 0.03] * 2

    (tmp_path / "inference-perf").mkdir()
    times = {"output_token_times": [0.202, 0.223, 0.253]}
    rows = [
        {"start_time": 1e-3, "error": None, "info": {"response_metrics": times}},
        {"start_time": 9e-3, "error": {"error_type": "a"}, "info": {"response_metrics": None}},
    ]
    (tmp_path / "inference-perf/per_request_lifecycle_metrics.json").write_text(json.dumps(rows))
    many = read_report(PEER["inference-perf"], job)
    assert many.requests.ttft_s.to_list() == pytest.approx([0.201])
    assert many.events.itl_s.dropna().to_list() == pytest.approx([0.021, 0.03])

    log = reference({1: [200, 220, 250], 2: [200, 220, 250]})
    log["event"] += 1  # event 0 is the role chunk
    log.loc[log.stream == 2, ["asked_ns", "sent_ns"]] += MS
    found = report_errors(compiled, 1, log)  # the request that was sent first is warm-up
    assert (found.requests, found.itl_of, found.itl_p99_ms) == (1, GAPS, pytest.approx(0.99))
    assert found.ttft_p50_ms == pytest.approx(2.0)


@pytest.mark.parametrize("content", ["", "[]", "{}", '{"benchmarks": []}', '{"requests": {}, "streams": []}'])
@pytest.mark.parametrize("name", list(PEER))
def test_a_report_of_another_shape_is_a_failure_in_words(tmp_path, name, content):
    job = Job("http://x", 1, 2, 3, tmp_path)
    job.out.write_text(content)
    with pytest.raises(RunFailed, match="cannot be read"):
        read_report(PEER[name], job)


def row(client, **changes):
    values = dict.fromkeys(("ttft_p50_ms", "ttft_p99_ms", "itl_p99_ms", "cpu_s", "memory_mib"), 1.0)
    names = {"round": 1, "load": "a load", "client": client, "version": "1", "itl_of": GAPS, "problem": None}
    counts = {"requests": 8, "lost": 0, "events": 1_000_000}
    costs = {
        "loading_cpu_s": None,
        "tree_cpu_s": 2.0,
        "wall_s": 3.0,
        "server_late_p99_ms": 0.1,
        "true_itl_p50_ms": 25.0,
    }
    start = PeerRow(**names, **counts, **costs, **values)
    return replace(start, **changes)


def frame(*rows):
    return pd.DataFrame([{name: getattr(one, name) for name in PeerRow.__dataclass_fields__} for one in rows])


FAILED = dict.fromkeys(("ttft_p50_ms", "ttft_p99_ms", "itl_p99_ms", "cpu_s", "memory_mib"))
MANIFEST = PeerBenchManifest(
    schema_version=1, bench_id="a-bench", rounds=3, versions={KIT_CLIENT: "0.1.0"}, loads=[], packages={},
    absent={"aiperf": "not installed here (make setup-peers)"},
    code=CodeVersion(), machine=Machine(cpu="a CPU", cores=2),
)  # fmt: skip


def test_the_table_names_what_ends_a_ttft_and_where_another_client_is_better():
    rows = frame(row(KIT_CLIENT), row("one", cpu_s=0.5))
    rules = {KIT_CLIENT: "first text", "one": "any message"}
    manifest = MANIFEST.model_copy(update={"first_token": rules, "contended": True})
    text = peer_bench_markdown(rows, manifest)
    assert "| memory, MiB | what ends its TTFT |" in text and "| 0.5 (0.5 ×) | 1 (1 ×) | any message |" in text
    assert "a load: another client is better than this kit in CPU, µs per event." in text
    assert "One busy process per core ran beside each client" in text
    assert "what ends its TTFT" not in peer_bench_markdown(rows, MANIFEST)


def test_ratios_are_of_medians_over_the_rounds():
    rows = frame(*(row(KIT_CLIENT, round=at, cpu_s=cpu) for at, cpu in enumerate((1.0, 2.0, 90.0))),
                 *(row("one", round=at, cpu_s=cpu) for at, cpu in enumerate((1.0, 10.0, 12.0))),
                 row("two", cpu_s=6.0, ttft_p50_ms=4.0))  # fmt: skip
    text = peer_bench_markdown(rows, MANIFEST)
    assert "| one | 1 (1 ×) | 1 (1 ×) | 1 (1 ×) | 10 (5 ×) | 1 (1 ×) |" in text
    assert "| two | 4 (4 ×) |" in text
    assert "| *best peer / this kit* | **1 ×** | **1 ×** | **1 ×** | **3 ×** | **1 ×** |" in text
    assert "aiperf: not installed here (make setup-peers)." in text


def test_a_mean_is_no_candidate_for_the_best_gap_and_is_named():
    rows = frame(row(KIT_CLIENT), row("one", itl_p99_ms=7.0), row("means", itl_p99_ms=0.1, itl_of=MEANS))
    assert best_peer_ratios(peer_medians(rows).loc["a load"])["itl_p99_ms"] == 7
    assert "means reports no gaps" in peer_bench_markdown(rows, MANIFEST)


def test_where_tokens_come_at_once_no_error_of_itl_is_the_best():
    rows = frame(row(KIT_CLIENT, true_itl_p50_ms=0.02), row("one", true_itl_p50_ms=0.02))
    best = best_peer_ratios(peer_medians(rows).loc["a load"])
    assert (best["itl_p99_ms"], best["ttft_p99_ms"]) == (None, 1)
    assert "a load: the true gap is 20 µs" in peer_bench_markdown(rows, MANIFEST)


def test_failures_and_losses_are_reported_and_a_round_without_numbers_does_not_count():
    rows = frame(row(KIT_CLIENT, lost=2, loading_cpu_s=0.5), row("one", **FAILED, problem="exit code 1: a|b\nc"),
                 row("two", **FAILED, problem="did not end"), row("two", round=2, cpu_s=4.0))  # fmt: skip
    text = peer_bench_markdown(rows, MANIFEST)
    assert "| one | exit code 1: a b c |  |  |  |  |" in text
    assert "| two | 1 (1 ×) | 1 (1 ×) | 1 (1 ×) | 4 (4 ×) |" in text
    assert "two failed in at least one round at a load: did not end." in text
    assert f"{KIT_CLIENT} at a load: 2 requests are missing from its report." in text
    assert "µs per event: 0.5 at a load;" in text


@given(st.floats(1e-6, 1e7))
def test_a_number_is_written_to_three_digits(value):
    assert float(short_number(value).replace(",", "")) == pytest.approx(value, rel=0.006)


def test_a_bench_reads_from_disk_as_it_was_written(tmp_path):
    rows = frame(row(KIT_CLIENT), row("one", **FAILED, problem="did not end"))
    loads = [PeerLoad("a load", 1, 0.0, 2)]
    found = write_peer_bench(create_peer_bench(tmp_path), rows, loads, rounds=1, absent={})
    assert load_peer_bench(found.path).markdown() == found.markdown()
    assert (found.path / "tables.md").read_text() == found.markdown() + "\n"
    assert found.markdown() == peer_bench_markdown(rows, found.manifest)
    assert found.manifest.loads == loads
    (found.path / "manifest.json").write_text('{"schema_version": 99}')
    with pytest.raises(UsageError, match="newer kit"):
        load_peer_bench(found.path)
    (found.path / "manifest.json").write_text('{"schema_version": 1, "bench_id": 7}')
    with pytest.raises(UsageError, match=r"manifest.json: bench_id is 7; it has to be a text"):
        load_peer_bench(found.path)
    with pytest.raises(UsageError, match="not a readable bench"):
        load_peer_bench(tmp_path)


def test_clients_are_chosen_by_name_and_ours_is_always_there():
    assert [peer.name for peer in choose_peers(["aiohttp"])] == [KIT_CLIENT, "aiohttp"]
    assert len(choose_peers([])) == len(ALL_CLIENTS)
    with pytest.raises(UsageError, match="no client 'aiohtp'"):
        choose_peers(["aiohtp"])


def program(path, shell):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f"#!/bin/sh\n{shell}\n")
    path.chmod(0o755)


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--loads", "9"], "there are loads 1 to"),
        (["aiohtp"], "no client 'aiohtp'"),
        (["--rounds", "0"], "rounds must be 1"),
    ],
)
def test_what_makes_no_bench_is_refused_in_one_line(capsys, arguments, words):
    assert main(["bench", *arguments]) == 2
    reported = capsys.readouterr()
    assert words in reported.err and reported.err.count("\n") == 1 and not reported.out


def test_a_broken_installation_is_absent_with_its_reason(tmp_path):
    program(tmp_path / "guidellm/bin/python", f'exec {sys.executable} -S "$@"')
    with pytest.raises(UsageError, match=r"not installed here .*PackageNotFoundError"):
        peer_version(PEER["guidellm"], tmp_path)


def test_a_small_bench_joins_every_request_and_names_who_is_absent(tmp_path):
    progress = []
    small = PeerLoad("small", 3, 0.002, 5, waves=2)
    rows, absent = asyncio.run(
        compare_clients(list(ALL_CLIENTS), [small], rounds=1, folder=tmp_path, report_progress=progress.append)
    )
    assert set(rows.client) == {KIT_CLIENT, "stock httpx"} and len(progress) == 2
    assert set(absent) == set(PEER) - {KIT_CLIENT, "stock httpx"}
    assert set(absent.values()) == {"not installed here (make setup-peers)"}
    for one in rows.itertuples():
        assert (one.requests, one.lost) == (3, 0), one.problem
        assert one.ttft_p50_ms is not None and one.itl_p99_ms is not None
        assert one.tree_cpu_s > 0 and one.cpu_s >= 0 and one.events >= 6 * 8


def test_a_client_that_fails_is_a_row_with_the_reason_and_the_others_go_on(tmp_path, monkeypatch):
    monkeypatch.setattr("gptoss_bench.calibration.peers.run.busy_cores", lambda: busy_cores(1))  # others run beside it
    program(tmp_path / "guidellm/bin/python", f'exec {sys.executable} "$@"')
    program(tmp_path / "guidellm/bin/guidellm", "echo it cannot; exit 3")
    broken = replace(PEER["guidellm"], package="httpx")
    small = PeerLoad("small", 1, 0.0, 2, waves=2)
    rows, _ = asyncio.run(
        compare_clients(
            [PEER[KIT_CLIENT], broken], [small], rounds=1, folder=tmp_path, contended=True, report_progress=print
        )
    )
    assert rows.problem.isna().to_list() == [True, False] and rows.problem[1] == "exit code 3: it cannot"
    assert pd.isna(rows.cpu_s[1]) and rows.lost.to_list() == [0, 1]
