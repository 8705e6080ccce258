"""Each form and version of a tool's file, made by hand: the same load gives the same numbers."""

import json

import pytest

from gptoss_bench.importers.detect import find_results, parse_results
from gptoss_bench.importers.imported_result import ImportedResult
from gptoss_bench.lint.check import check_result
from gptoss_bench.lint.results import Result
from gptoss_client.errors import UsageError
from tool_files import (
    AIPERF_LINE,
    FORMS,
    GUIDELLM_0_3,
    LLAMA_BENCH,
    OLLAMA_OBJECT,
    OLLAMA_TEXT,
    SGLANG,
    VLLM,
    VLLM_ALL_FAILED,
    VLLM_BLOCK,
    VLLM_BY_VERSION,
    VLLM_SPECULATIVE,
    VLLM_ZEROS,
)


def one(content: object) -> ImportedResult:
    [found] = parse_results(content if isinstance(content, str) else json.dumps(content), "bench.json")
    return found


# 20 requests in 4 s: 20 / 4 = 5 requests/s; 200 tokens: 200 / 4 = 50 tokens/s, 200 / 20 = 10 tokens a request.
LOADS = [*VLLM_BY_VERSION, "sglang.jsonl", "vllm-block.txt", "sglang-block.txt", "guidellm-sampled.json"]
LOADS += ["aiperf-2025.json", "genai-perf.json", "genai-perf.csv", "inference-perf.json", "mlperf-endpoints.json"]
LOADS += ["benchmark-report.json", "benchmark-report.yaml"]
WITH_LATENCY = {*LOADS} - {"vllm-0.9.json", "vllm-0.10.json", "vllm-0.12.json", "vllm-block.txt"}


@pytest.mark.parametrize("name", LOADS)
def test_every_form_of_a_load_gives_the_same_numbers(name: str) -> None:
    summary = one(FORMS[name]).summary
    assert (summary.completed, summary.request_s, summary.output_tok_s_total) == (20, 5.0, 50.0)
    assert summary.completion_tokens.mean == 10.0
    assert summary.ttft_s.p50 == pytest.approx(0.1)
    assert summary.ttft_s.n == 20
    assert summary.ttft_s.resolved.p50
    assert not summary.ttft_s.resolved.p99
    assert summary.done_s.p50 == (pytest.approx(0.56) if name in WITH_LATENCY else None)
    assert summary.tpot_s.p50 == (pytest.approx(0.05) if name != "sglang-block.txt" else None)
    assert summary.placeholders == []


@pytest.mark.parametrize(
    ("name", "tool", "concurrency", "failed", "model"),
    [
        ("vllm-0.9.json", "vllm bench serve", 8, 0, "openai/gpt-oss-20b"),
        ("vllm-block.txt", "vllm bench serve", 8, 0, None),
        ("sglang.jsonl", "sglang.bench_serving", 8, 0, "openai/gpt-oss-20b"),
        ("sglang-block.txt", "sglang.bench_serving", 8, 0, None),
        ("guidellm-0.3.json", "guidellm", 4, 1, "gpt-oss"),
        ("guidellm-0.4.json", "guidellm", 4, 1, "gpt-oss"),
        ("guidellm-0.6.json", "guidellm 0.6.0", 4, 1, "gpt-oss"),
        ("guidellm-sampled.json", "guidellm", 1, 1, None),
        ("aiperf-2025.json", "aiperf", 8, 0, "gpt-oss"),
        ("genai-perf.json", "genai-perf", 8, 0, "gpt-oss"),
        ("genai-perf.csv", "genai-perf", None, 0, None),
        ("inference-perf.json", "inference-perf", None, 0, None),
        ("mlperf-endpoints.json", "MLPerf Endpoints 1.0", None, 0, None),
        ("benchmark-report.json", "llm-d Benchmark Report 0.2.1", 8, 0, "openai/gpt-oss-20b"),
        ("benchmark-report.yaml", "llm-d Benchmark Report 0.2.1", None, 0, "openai/gpt-oss-20b"),
        ("loadgen.txt", "MLPerf LoadGen", None, 0, None),
    ],
)
def test_the_tool_is_known_by_marks_that_stay(name, tool, concurrency, failed, model) -> None:
    found = one(FORMS[name])
    assert found.title == (f"{tool} of {model}" if model else tool)
    assert (found.summary.concurrency_planned, found.summary.failed) == (concurrency, failed)


@pytest.mark.parametrize("name", ["guidellm-0.3.json", "guidellm-0.4.json", "guidellm-0.6.json"])
def test_the_requests_of_each_guidellm_are_read(name: str) -> None:
    found = one(FORMS[name])
    first, failed = found.requests.itertuples()
    # first token at 1000.1 of a request sent at 1000.0; last of 10 tokens at 1000.55: (0.55 - 0.1) / 9 = 50 ms.
    assert (first.ttft_s, first.e2e_s, first.tpot_s) == pytest.approx((0.1, 0.55, 0.05), abs=1e-6)
    assert (first.prompt_tokens, first.completion_tokens) == (20, 10)
    assert (failed.outcome, failed.error) == ("failed", "refused")
    assert found.manifest.server.model == "gpt-oss"


def test_the_requests_of_the_first_aiperf_are_read() -> None:
    later = {**AIPERF_LINE, "metadata": {**AIPERF_LINE["metadata"], "credit_phase": "warmup"}}
    found = one("\n".join(map(json.dumps, (AIPERF_LINE, later))))
    assert (found.summary.requests, found.summary.warmup_requests) == (1, 1)
    assert found.summary.ttft_s.p50 == 0.1
    assert found.summary.tpot_s.p50 == pytest.approx(0.05)  # (550 - 100) / 9


def test_a_log_summary_of_loadgen_has_rates_and_times_without_counts() -> None:
    found = one(FORMS["loadgen.txt"])
    summary = found.summary
    assert (summary.requests, summary.request_s, summary.output_tok_s_total) == (0, 5.0, 50.0)
    assert [summary.distribution(name).p50 for name in ("done_s", "ttft_s", "tpot_s")] == [0.56, 0.1, 0.05]
    assert "LoadGen calls this result INVALID" in found.notes


@pytest.mark.parametrize("several", [f"{json.dumps(VLLM)}\n{json.dumps(SGLANG)}\n", json.dumps([VLLM, SGLANG])])
def test_lines_and_lists_are_many_results(several: str) -> None:
    assert [found.tool for found in parse_results(several, "all.json")] == ["vllm bench serve", "sglang.bench_serving"]


def test_two_blocks_in_one_text_are_two_results_with_their_own_concurrency() -> None:
    other = VLLM_BLOCK.replace("concurrency: 8", "concurrency: 16")
    found = parse_results(f"first\n{VLLM_BLOCK}\nthen\n{other}", "log.txt")
    assert [one.summary.concurrency_planned for one in found] == [8, 16]


def test_a_missing_key_is_not_reported() -> None:
    summary = one(
        {name: VLLM[name] for name in VLLM if name not in ("duration", "max_concurrency", "p99_ttft_ms")}
    ).summary
    assert summary.wall_s is summary.concurrency_planned is summary.ttft_s.p99 is None


def test_requests_that_an_old_vllm_does_not_count_as_failed_are_those_that_did_not_complete() -> None:
    found = one({**VLLM, "num_prompts": 30})
    assert (found.summary.requests, found.summary.completed, found.summary.failed) == (30, 20, 10)
    assert "failed requests are not reported: 10 of 30 did not complete" in found.notes
    counted = one({**VLLM, "num_prompts": 30, "failed": 0}).summary
    assert (counted.requests_asked, counted.completed, counted.failed) == (30, 20, 0)


def test_zeros_of_what_was_not_measured_are_placeholders() -> None:
    found = one(VLLM_ZEROS)
    assert found.summary.placeholders == ["ttft_s", "itl_s"]
    assert found.summary.ttft_s.p50 is found.summary.itl_s.p50 is None
    assert found.summary.tpot_s.p50 == 0.05
    assert "TTFT of 0 in the file is a placeholder: not reported" in found.notes
    assert "TPOT has the TTFT in it, because the TTFT is 0 in the file" in found.notes


def test_the_linter_calls_placeholders_an_error() -> None:
    found = one(VLLM_ZEROS)
    checked = check_result(Result("zeros", found.summary, found.requests, found.manifest, found.notes))
    [impossible] = [one for one in checked.findings if one.rule == "impossible-figures"]
    assert impossible.evidence == "TTFT mean is 0 s; ITL mean is 0 s"


def test_a_load_without_a_completed_request_has_no_figure() -> None:
    found = one(VLLM_ALL_FAILED)
    summary = found.summary
    assert (summary.requests, summary.completed, summary.failed) == (20, 0, 20)
    assert [summary.request_s, summary.output_tok_s_total, summary.ttft_s.p50, summary.tpot_s.mean] == [None] * 4
    assert "no request completed: zeros in the file are no figures" in found.notes


def test_chunks_of_speculative_decoding_are_counted_as_drafts() -> None:
    found = one(VLLM_SPECULATIVE)
    assert (found.summary.itl_s.n, found.summary.tokens_per_chunk) == (60, 3.0)
    assert "ITL is between chunks of 3.00 tokens on average, not between tokens" in found.notes
    told = {name: value for name, value in VLLM_SPECULATIVE.items() if not name.startswith("spec_decode")}
    summary = one(told).summary
    assert summary.tokens_per_chunk == 3.0  # mean ITL / mean TPOT = 156 / 52
    assert summary.itl_s.n == 60  # (200 - 20 first tokens) / 3


def test_retokenised_text_is_noted_with_its_difference() -> None:
    found = one(SGLANG)
    assert found.summary.retokenised_tokens == 190
    assert any(note.endswith("(-5.00%)") for note in found.notes)  # 190 / 200 - 1


@pytest.mark.parametrize("text", ["vllm-block.txt", "llama-bench.md", "ollama.txt", "sglang-block.txt", "loadgen.txt"])
@pytest.mark.parametrize("quoted", ["> {}", ">> {}", "\x1b[90m{}\x1b[0m", "{}\r", "\x1b[?25l\x1b[2K\x1b[1G{}"])
def test_colour_codes_quote_marks_and_returns_are_no_part_of_a_text(text: str, quoted: str) -> None:
    plain = FORMS[text]
    marked = "\n".join(quoted.format(line) for line in plain.splitlines())
    assert [found.summary for found in parse_results(f"some words\n{marked}", "a.txt")] == [
        found.summary for found in parse_results(plain, "a.txt")
    ]


def test_llama_bench_has_a_result_per_settings_and_its_tests_by_depth() -> None:
    first, other = parse_results(json.dumps(LLAMA_BENCH), "bench.json")
    [prefill], [decode] = first.summary.prefill, first.summary.decode
    assert (prefill.test, prefill.tok_s, prefill.n, prefill.interval) == ("512 @ 4096", 900.0, 1, None)
    assert (decode.test, decode.tok_s, decode.n) == ("128", 80.0, 3)
    # the mean of 79, 80, 81 has standard deviation 1 / sqrt(3) = 0.577, times t(0.975, 2) = 4.303: 2.484
    assert decode.interval == pytest.approx((80 - 2.484, 80 + 2.484), abs=1e-3)
    assert [rate.tok_s for rate in other.summary.decode] == [70.0]


@pytest.mark.parametrize("name", ["llama-bench.csv", "llama-bench.md"])
def test_the_other_forms_of_llama_bench_have_rates_of_an_unknown_number_of_repetitions(name: str) -> None:
    found = one(FORMS[name])
    [prefill], [decode] = found.summary.prefill, found.summary.decode
    assert (prefill.test, prefill.tok_s, prefill.n) == ("512 @ 4096", 900.0, None)
    assert (decode.test, decode.tok_s, decode.n) == ("128", 80.0, None)
    assert found.title == "llama-bench 6865 of gpt-oss 20B"


@pytest.mark.parametrize("content", [OLLAMA_TEXT, OLLAMA_OBJECT])
def test_ollama_reports_prefill_and_decode_rates(content: object) -> None:
    found = one(content)
    [prefill], [decode] = found.summary.prefill, found.summary.decode
    assert (prefill.tok_s, prefill.n, decode.tok_s, decode.n) == (400.0, 1, 40.0, 1)  # 100 / 0.25, 80 / 2
    [row] = found.requests.itertuples()
    assert (row.server_total_s, row.server_load_s, row.server_prompt_s, row.server_eval_s) == (3.0, 0.5, 0.25, 2.0)
    assert row.server_wait_s == 0.25  # 3 - 0.5 - 0.25 - 2
    assert found.summary.server.tok_s.p50 == 40.0


def test_objects_of_ollama_are_a_request_each_and_a_model_a_result() -> None:
    part = {"model": "gpt-oss:20b", "message": {"content": "a"}, "done": False}
    other = {**OLLAMA_OBJECT, "model": "llama3", "prompt_eval_count": None}
    short = {**OLLAMA_OBJECT, "eval_count": 1}
    lines = "\n".join(map(json.dumps, (part, OLLAMA_OBJECT, short, other)))
    first, second = parse_results(lines, "api.ndjson")
    assert [first.manifest.server.model, second.manifest.server.model] == ["gpt-oss:20b", "llama3"]
    assert len(first.requests) == 2
    assert first.summary.server_tok_s == [40.0]  # one token has no rate
    assert second.summary.prefill == []


def test_a_refusal_names_the_tool_the_version_the_versions_read_and_the_key() -> None:
    with pytest.raises(UsageError) as error:
        parse_results(json.dumps({name: VLLM[name] for name in VLLM if name != "completed"}), "old.json")
    words = str(error.value)
    assert words.startswith(
        "old.json: completed is missing; add it; the file is like those of vllm bench serve (no version"
    )
    assert "this kit reads files since 2025-05" in words
    with pytest.raises(UsageError, match=r"guidellm \(version '0.9.0'; this kit reads reports of 0.2 to 0.8.1\)"):
        parse_results(json.dumps({"metadata": {"guidellm_version": "0.9.0"}, "benchmarks": [{}]}), "new.json")
    with pytest.raises(UsageError, match=r"all.json, result 2: duration is 'x'"):
        parse_results(json.dumps([VLLM, {**VLLM, "duration": "x"}]), "all.json")


def test_a_block_that_is_cut_names_the_lines_that_are_missing() -> None:
    with pytest.raises(UsageError, match=r"has no line for duration, output_throughput, request_throughput"):
        parse_results("\n".join(VLLM_BLOCK.splitlines()[:5]), "log.txt")


def test_a_text_without_a_result_has_none() -> None:
    assert find_results("We got **120 tok/s** on an A10.", "README.md") == []
    assert find_results(json.dumps({**GUIDELLM_0_3, "benchmarks": []}), "empty.json") == []


def test_a_block_of_sglang_without_a_limit_of_requests_in_flight_is_read() -> None:
    found = one(
        FORMS["sglang-block.txt"].replace("concurrency:                 8", "concurrency:                 not set")
    )
    assert found.summary.concurrency_planned is None
    assert found.summary.mean_in_flight == 3.0


def test_an_old_block_of_vllm_with_a_rate_of_prompts_is_not_sglangs() -> None:
    text = VLLM_BLOCK.replace("Output token", "Input token throughput (tok/s): 100.00\nOutput token", 1)
    assert one(text).tool == "vllm bench serve"
