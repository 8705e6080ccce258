"""The published method against real reference servers: it prints a share of the latency, whatever the first token."""

import asyncio
import json

import pytest

from gptoss_bench.calibration.method_trial import TrialCase, trial_cases, trial_table, trial_text, try_published_method
from gptoss_bench.cli.main import main
from gptoss_bench.figures.method_trial import printed_and_true_ttft
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import Manifest
from gptoss_client.errors import UsageError


def test_the_first_case_has_the_published_latency_and_each_other_one_varies_one_thing():
    cases = trial_cases()
    first = cases[0]
    assert first.ttft_s + (first.tokens - 1) * first.itl_s == pytest.approx(256 / 29.9, abs=0.005)
    assert (first.requests, first.tokens, first.prompt_tokens) == (256, 256, 88)
    for case in cases[1:]:
        names = ("ttft_s", "itl_s", "prompt_tokens", "tokens")
        assert sum(getattr(case, name) != getattr(first, name) for name in names) == 1
    with pytest.raises(UsageError, match="at least 8 requests"):
        trial_cases(requests=4)


def test_the_method_prints_a_share_of_the_latency_and_the_kit_the_first_token():
    case = TrialCase("a case", ttft_s=0.1, itl_s=0.02, prompt_tokens=300, tokens=20, requests=16)
    [row], endpoint = asyncio.run(try_published_method([case]))
    assert endpoint.url.startswith("http://127.0.0.1:")
    assert row.printed_latency_s.p50 >= 0.1 + 19 * 0.02
    assert row.printed_ttft_s.p50 == pytest.approx(row.printed_latency_s.p50 * 300 / 320, abs=0.002)
    assert row.first_token_s >= 0.1 and row.kit_ttft_s >= row.first_token_s - 0.001
    assert row.http == "asked for HTTP/2, spoken HTTP/1.1"
    assert "Start stress test: 16 requests" in row.printed
    [shown] = trial_table([row]).itertuples()
    assert (shown.case, shown.first_token_s) == ("a case", row.first_token_s)
    assert f"came after {row.first_token_s:.3f} s" in trial_text(row)
    texts = [text.get_text() for text in printed_and_true_ttft([row], Manifest()).axes[0].texts]
    assert texts == [f"{row.printed_ttft_s.p50:.3f} s for {row.first_token_s:.3f} s"]


def test_the_command_writes_a_run_with_a_row_per_case(tmp_path, capsys):
    assert main(["method-trial", "--requests", "8", "--tokens", "8", "--results", str(tmp_path), "--json"]) == 0
    printed = json.loads(capsys.readouterr().out)
    run = Run.load(printed["run_folder"])
    assert (run.scenario, run.manifest.status) == ("method-trial", "complete")
    assert [row.case for row in run.summary.rows] == [case.name for case in trial_cases(8, 8)]
    assert [row.document() for row in run.summary.rows] == printed["rows"]
    assert main(["method-trial", "--tokens", "1", "--results", str(tmp_path)]) == 2
    assert capsys.readouterr().err.count("\n") == 1
