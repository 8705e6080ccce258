"""Certificates: requests matched with a log by hand, and real tools run against the real reference server."""

import json
import os
import sys

import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from folders import TESTS
from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.certification.reports import find_report
from gptoss_bench.calibration.certification.run import CertifiedTool
from gptoss_bench.calibration.certification.truth import (
    first_event,
    match_by_ids,
    match_by_time,
    true_gaps_s,
    true_streams,
)
from gptoss_bench.calibration.peers.registry import PEERS_DIR, tokenizer_folder
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import SEND_LOG_COLUMNS
from gptoss_bench.cli.main import main
from gptoss_client.errors import UsageError
from streams import MS
from tool_files import VLLM_BLOCK

PLAN = ReferencePlan(tokens=4, reasoning="both", reasoning_share=0.25)


def log_of(*asked_ms, whole=()):
    """A log: each stream has its role chunk at once, four tokens from 200 ms on, and its end with the last one."""
    rows = []
    for stream, asked in enumerate(asked_ms, 1):
        sends = [(0, "role"), (200, "output"), (225, "output"), (250, "output"), (275, "output"), (275, "finish")]
        sends = [(275, "body")] if stream in whole else sends
        rows += [
            (stream, event, kind, kind == "output", {"output": 1, "body": 4}.get(kind, 0), asked * MS,
             (asked + after) * MS, (asked + after) * MS, (asked + after) * MS, None)
            for event, (after, kind) in enumerate(sends)
        ]  # fmt: skip
    return pd.DataFrame(rows, columns=list(SEND_LOG_COLUMNS)).astype(SEND_LOG_COLUMNS)


def test_the_truth_has_each_moment_at_which_a_tool_may_see_a_first_token():
    truth = true_streams(log_of(1000, 900, 2000, whole=(3,)), PLAN)
    assert list(truth.index) == [2, 1, 3]
    streamed = truth.loc[1]
    assert [streamed[name] for name in ("role_s", "first_s", "answer_s", "last_s")] == pytest.approx(
        [0, 0.2, 0.225, 0.275]
    )
    assert (streamed.tokens, streamed.outputs, streamed.tpot_s) == (4, 4, pytest.approx(0.025))
    assert truth.loc[3, "last_s"] == pytest.approx(0.275) and pd.isna(truth.loc[3, "first_s"])
    assert true_gaps_s(log_of(0, 5), pd.Index([1])).tolist() == pytest.approx([0.025] * 3)


@pytest.mark.parametrize(
    ("ttft_s", "name"), [(0.004, "role_s"), (0.203, "first_s"), (0.23, "answer_s"), (0.28, "last_s")]
)
def test_the_event_that_ends_a_ttft_is_the_nearest_one(ttft_s, name):
    truth = true_streams(log_of(0, 10, 20), PLAN)
    assert first_event(pd.Series([ttft_s] * 3, index=truth.index), truth) == name
    assert first_event(pd.Series([ttft_s]), truth) == name
    assert first_event(pd.Series([], dtype="float64"), truth) is None


@given(
    st.lists(st.integers(1, 10**6), min_size=1, max_size=30, unique=True),
    st.integers(0, 5),
    st.sampled_from([0, 10**17]),
)
def test_requests_are_matched_in_the_order_of_their_sending_on_any_clock(times_ms, early, clock_ns):
    asked_ms = sorted(times_ms)
    early = min(early, len(asked_ms) - 1)
    truth = true_streams(log_of(*asked_ms), PLAN)
    sent = [(at * MS) - 200_000 + clock_ns for at in asked_ms[early:]]
    requests = pd.DataFrame({"request_id": range(len(sent)), "sent_ns": sent})
    if early and asked_ms[early] - asked_ms[early - 1] <= 50:
        return  # within the slack a stream cannot be told from the one before it
    found = match_by_time(requests.iloc[::-1], truth)
    assert found.streams.sort_index().tolist() == list(range(early + 1, len(asked_ms) + 1))
    assert (found.warmup, found.lost) == (list(range(1, early + 1)), [])


def test_a_request_that_is_not_in_the_report_is_lost_and_one_before_it_is_warm_up():
    truth = true_streams(log_of(0, 1000, 2000, 3000), PLAN)
    sent = pd.DataFrame({"request_id": [7, 8], "sent_ns": [999 * MS, 2999 * MS]})
    found = match_by_time(sent, truth)
    assert (found.streams.to_dict(), found.warmup, found.lost) == ({7: 2, 8: 4}, [1], [3])
    found = match_by_ids(pd.Series({7: 2, 8: 4}), truth)
    assert (found.streams.to_dict(), found.warmup, found.lost) == ({7: 2, 8: 4}, [1], [3])
    assert match_by_time(sent[:0], truth).lost == [1, 2, 3, 4]


def test_a_report_is_the_named_file_else_a_new_one_else_what_was_printed(tmp_path):
    detailed = (TESTS / "imported/vllm-bench-serve-detailed.json").read_text()
    block = (TESTS / "imported/write-up.txt").read_text()
    (tmp_path / "old.json").write_text(detailed)
    os.utime(tmp_path / "old.json", (1, 1))
    printed = find_report(None, [tmp_path], 100.0, f"\x1b[32mprogress\x1b[0m\n{block}")
    assert (printed.where, printed.by_request) == ("what it printed", False)
    (tmp_path / "deep/er").mkdir(parents=True)
    (tmp_path / "deep/er/new.json").write_text(detailed)
    (tmp_path / "deep/er/noise.json").write_text("{}")
    found = find_report(None, [tmp_path], 100.0, block)
    assert found.where.endswith("new.json") and found.by_request
    assert find_report(tmp_path / "old.json", [], 0.0, "").by_request
    assert find_report(tmp_path, [], 0.0, "").by_request
    of_vllm = find_report(None, [], 0.0, f"\x1b[32mprogress\x1b[0m\r{VLLM_BLOCK}")
    assert (of_vllm.tool, of_vllm.summary.completed, of_vllm.by_request) == ("vllm bench serve", 20, False)
    with pytest.raises(UsageError, match="wrote no"):
        find_report(tmp_path / "none.json", [], 0.0, "")
    with pytest.raises(UsageError, match="no result that can be read"):
        find_report(tmp_path / "deep/er/noise.json", [], 0.0, "")
    with pytest.raises(UsageError, match="--result"):
        find_report(None, [], 0.0, "nothing")


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--", "tool", "--url", "x"], "no {url}"),
        (["--", "tool", "{url}"], "no {streams}"),
        (["--levels", "0", "--", "tool", "{url}"], "must be 1 or more"),
        (["--levels", "many", "--", "tool", "{url}"], "write numbers of streams"),
    ],
)
def test_a_command_that_cannot_be_certified_is_refused_in_one_line(capsys, arguments, words):
    assert main(["certify", *arguments]) == 2
    said = capsys.readouterr()
    assert words in said.err and said.err.count("\n") == 1 and not said.out


def certified(capsys, tmp_path, monkeypatch, *arguments):
    monkeypatch.chdir(tmp_path)
    assert main(["certify", "--json", *arguments]) == 0
    return json.loads(capsys.readouterr().out)


def test_the_client_of_the_kit_sees_the_first_token_and_loses_nothing(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    load = (sys.executable, "-m", "gptoss_bench", "load", "--url", "{url}", "--model", "{model}", "-c", "{streams}")
    sizes = ("-n", "{requests}", "--max-tokens", "{tokens}", "--results", "{out}")
    options = ("--levels", "2,4", "--waves", "2", "--svg", "a.svg")
    found = certified(capsys, tmp_path, monkeypatch, *options, "--", *load, *sizes)
    assert (found["tool"], found["by_request"], found["first_event"]) == (KIT_CLIENT, True, "the first token")
    assert [level["streams"] for level in found["levels"]] == [2, 4]
    for level in found["levels"]:
        assert level["reported_requests"] == level["sent_requests"] == 2 * level["streams"]
        assert (level["lost_requests"], level["missing_events"], level["extra_events"]) == (0, 0, 0)
        assert (level["ttft"]["of"], level["itl"]["of"]) == ("each request", "each gap")
        assert level["itl"]["n"] == 39 * level["reported_requests"] and level["wrong_token_counts"] == 0
        assert level["cpu_s"] > 0
    assert (tmp_path / "a.svg").read_text().lstrip().startswith("<?xml")


def test_a_client_that_does_not_stream_cannot_see_a_first_token(capsys, tmp_path, monkeypatch):
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    method = (sys.executable, "-m", "gptoss_bench.calibration.peers.clients.published_method")
    found = certified(
        capsys, tmp_path, monkeypatch, "--levels", "2", "--", *method, "{url}", "{streams}", "{requests}", "{tokens}"
    )
    [level] = found["levels"]
    assert (found["streamed"], found["by_request"], found["first_event"]) == (False, False, None)
    assert (level.get("ttft"), level["e2e"]["of"], level["reported_requests"]) == (None, "its percentiles", 6)


def test_a_tool_that_fails_ends_the_command_with_its_last_words(capsys, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    code = "import sys; print('it cannot'); sys.exit(3)"
    assert main(["certify", "--levels", "1", "--", sys.executable, "-c", code, "{url}"]) == 1
    assert "exit code 3: it cannot" in capsys.readouterr().err


def installed(name, program):
    path = PEERS_DIR / name / "bin" / program
    if not path.exists():
        pytest.skip(f"{name} is not installed here: make setup-peers")
    return str(path)


@pytest.mark.slow
def test_guidellm_as_make_installs_it(capsys, tmp_path, monkeypatch):
    program = installed("guidellm", "guidellm")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(24 * (json.dumps({"prompt": "Explain.", "output_tokens_count": 40}) + "\n"))
    command = (
        *(program, "run", "--backend", "kind=openai_http,target={url},model={model},validate_backend=false"),
        *("--profile", "kind=concurrent,streams={streams}", "--constraint", "kind=max_requests,count={requests}"),
        *("--data", f"kind=json_file,path={prompts}", "--output", "kind=json,path={out}/report.json"),
        "--disable-console",
    )
    found = certified(capsys, tmp_path, monkeypatch, "--levels", "8", "--", *command)
    assert (found["tool"], found["first_event"], found["by_request"]) == ("guidellm", "the first token", True)
    assert found["levels"][0]["reported_requests"] == 24 and found["levels"][0]["lost_requests"] == 0


@pytest.mark.slow
def test_aiperf_as_make_installs_it(capsys, tmp_path, monkeypatch):
    program = installed("aiperf", "aiperf")
    monkeypatch.delenv("PYTHONPATH", raising=False)
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(json.dumps({"text": "Explain."}) + "\n")
    command = (
        *(program, "profile", "--model", "{model}", "--url", "{url}", "--endpoint-type", "chat", "--streaming"),
        *("--concurrency", "{streams}", "--request-count", "{requests}", "--extra-inputs", "max_tokens:{tokens}"),
        *("--use-server-token-count", "--input-file", str(prompts), "--custom-dataset-type", "single_turn"),
        *("--tokenizer", str(tokenizer_folder(tmp_path / "tokenizer")), "--no-gpu-telemetry", "--no-server-metrics"),
        *("--ui", "none", "--artifact-dir", "{out}/aiperf"),
    )
    found = certified(capsys, tmp_path, monkeypatch, "--levels", "8", "--", *command)
    assert (found["tool"], found["first_event"], found["by_request"]) == ("aiperf", "the first token", True)
    assert found["levels"][0]["reported_requests"] == 24 and found["levels"][0]["lost_requests"] == 0


@pytest.mark.slow
def test_the_compiled_client_of_vllm_ends_its_ttft_at_the_role_chunk(capsys, tmp_path, monkeypatch):
    program = installed("vllm-rs", "vllm-rs")
    prompts = tmp_path / "prompts.jsonl"
    prompts.write_text(24 * (json.dumps({"prompt": "Explain."}) + "\n"))
    command = (
        *(program, "bench", "serve", "--backend", "openai-chat", "--base-url", "{url}", "--model", "{model}"),
        *("--tokenizer", str(tokenizer_folder(tmp_path / "tokenizer")), "--dataset-name", "custom"),
        *("--dataset-path", str(prompts), "--custom-output-len", "{tokens}", "--max-concurrency", "{streams}"),
        *("--num-prompts", "{requests}", "--save-result", "--save-detailed", "--result-dir", "{out}"),
    )
    found = certified(capsys, tmp_path, monkeypatch, "--levels", "8", "--", *command)
    assert (found["tool"], found["first_event"]) == ("vllm bench serve", "the role chunk")
    [level] = found["levels"]
    assert level["ttft_off_ms"] < -100 and level["extra_events"] == 2 * level["reported_requests"]


def test_a_command_names_the_address_and_each_level_is_another_load(tmp_path):
    tool = CertifiedTool(("a", "{url}/v1", "-c{streams}"), levels=(1, 2), result="{out}/{streams}.json")
    assert tool.words("http://x", 2, tmp_path) == ["a", "http://x/v1", "-c2"]
    assert tool.result_path("http://x", 2, tmp_path) == tmp_path / "2.json"
