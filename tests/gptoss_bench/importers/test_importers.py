"""Files that other tools wrote: their numbers under the names of this kit, and the findings on them."""

import gzip
import json

import pytest

from folders import TESTS
from gptoss_bench.importers.detect import parse_results
from gptoss_bench.importers.imported_result import ImportedResult
from gptoss_bench.lint.check import check_result
from gptoss_bench.lint.results import Result
from gptoss_client.errors import UsageError

FILES = TESTS / "imported"
# The server that all load generators measured: first token after 100 ms, the others 10 ms apart.
TTFT_S, ITL_S, TOKENS, REQUESTS, STREAMS = 0.1, 0.01, 32, 24, 4


def text(name: str) -> str:
    file = FILES / name
    return gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()


def imported(name: str) -> ImportedResult:
    [found] = parse_results(text(name), name)
    return found


def rules(found: ImportedResult) -> dict[str, str]:
    checked = check_result(Result(found.title, found.summary, found.requests, found.manifest, found.notes))
    return {finding.rule: finding.severity for finding in checked.findings}


LOADS = [
    "vllm-bench-serve.json",
    "vllm-bench-serve-detailed.json",
    "guidellm.json.gz",
    "aiperf.json",
    "aiperf.jsonl.gz",
]


@pytest.mark.parametrize("name", LOADS)
def test_all_load_generators_report_the_same_numbers_of_the_same_server(name: str) -> None:
    summary = imported(name).summary
    assert (summary.requests, summary.completed, summary.failed) == (REQUESTS, REQUESTS, 0)
    assert summary.completion_tokens.sum == REQUESTS * TOKENS
    assert summary.done_s.p50 == pytest.approx(TTFT_S + (TOKENS - 1) * ITL_S, rel=0.05)
    waves = REQUESTS / STREAMS
    assert summary.output_tok_s_total == pytest.approx(REQUESTS * TOKENS / waves / summary.done_s.p50, rel=0.1)
    assert summary.request_s == pytest.approx(REQUESTS / summary.wall_s, rel=0.02)
    assert summary.percentile_rule == "inclusive"


@pytest.mark.parametrize("name", ["guidellm.json.gz", "aiperf.json", "aiperf.jsonl.gz"])
def test_tools_that_do_not_count_the_role_chunk_agree_on_ttft_and_tpot(name: str) -> None:
    found = imported(name)
    assert found.summary.ttft_s.p50 == pytest.approx(TTFT_S, rel=0.05)
    assert found.summary.tpot_s.p50 == pytest.approx(ITL_S, rel=0.05)
    assert "role-chunk-counted" not in rules(found)


@pytest.mark.parametrize(("name", "severity"), [(LOADS[0], "warning"), (LOADS[1], "error")])
def test_the_role_chunk_that_vllm_counts_is_found_and_proven_by_the_gaps(name: str, severity: str) -> None:
    found = imported(name)
    assert found.summary.ttft_s.p50 < TTFT_S / 10
    assert rules(found)["role-chunk-counted"] == severity


def test_long_gaps_elsewhere_prove_no_role_chunk() -> None:
    """An engine that stops decoding for the prompts of others has its long gaps anywhere."""
    content = json.loads(text("vllm-bench-serve-detailed.json"))
    for at, gaps in enumerate(content["itls"]):
        gaps[0], gaps[1 + at % 20] = gaps[1 + at % 20], gaps[0]
    [found] = parse_results(json.dumps(content), "bench.json")
    assert found.summary.wait_after_first_share == 0
    assert rules(found)["role-chunk-counted"] == "warning"
    [other] = parse_results(json.dumps({**content, "backend": "openai", "endpoint_type": "openai"}), "bench.json")
    assert other.summary.wait_after_first_share is None


def test_percentiles_from_requests_are_those_that_aiperf_prints() -> None:
    reported, made = imported("aiperf.json").summary, imported("aiperf.jsonl.gz").summary
    for name in ("ttft_s", "ttfa_s", "tpot_s", "itl_s", "done_s"):
        assert made.distribution(name).n == reported.distribution(name).n
        for at in ("mean", "p50", "p90", "p99"):
            one, other = (getattr(each.distribution(name), at) for each in (made, reported))
            assert one == pytest.approx(other, rel=1e-6)
    assert made.wall_s == pytest.approx(reported.wall_s, rel=1e-3)


def test_percentiles_from_requests_are_those_that_vllm_prints() -> None:
    content = json.loads(text("vllm-bench-serve-detailed.json"))
    summary = imported("vllm-bench-serve-detailed.json").summary
    for name, its in (("ttft_s", "ttft"), ("done_s", "e2el"), ("itl_s", "itl"), ("tpot_s", "tpot")):
        for at in ("p50", "p90", "p99"):
            assert summary.distribution(name).at(at) * 1e3 == pytest.approx(content[f"{at}_{its}_ms"], rel=0.01), (
                name,
                at,
            )


def test_what_guidellm_does_not_write_is_unknown() -> None:
    found = imported("guidellm.json.gz")
    assert found.summary.itl_s.p50 is None
    assert found.requests.prompt_id.nunique() == 1
    assert {"one-prompt", "wall-clock-used"} <= set(rules(found))
    assert found.summary.concurrency_delivered == pytest.approx(STREAMS, rel=0.1)


def test_the_published_block_is_read_and_its_ttft_is_an_error() -> None:
    found = imported("write-up.txt")
    summary = found.summary
    assert (summary.requests, summary.concurrency_planned, summary.wall_s) == (2000, 256, 66.89)
    assert [summary.done_s.at(at) for at in ("p50", "p90", "p99")] == [8.835, 11.235, 14.755]
    assert [summary.ttft_s.at(at) for at in ("p50", "p90", "p99")] == [2.271, 2.874, 3.775]
    assert rules(found) == {
        "ttft-is-a-fraction-of-latency": "error",
        "most-answers-truncated": "warning",
        "ramp-and-tail-inside": "note",
        "percentile-rule-unnamed": "note",
        "too-short": "warning",
        "single-trial": "note",
        "version-unknown": "note",
        "names-differ": "note",
    }


def test_the_block_without_its_first_line_has_the_count_from_its_rate() -> None:
    [found] = parse_results(text("write-up.txt").partition("RESULTS")[2], "block.txt")
    assert found.summary.requests == 2000
    assert found.summary.concurrency_planned is None


def test_a_llama_bench_file_has_rates_with_intervals_over_its_repetitions() -> None:
    found = imported("llama-bench.json")
    [decode], [prefill] = found.summary.decode, found.summary.prefill
    assert (decode.tok_s, decode.n, prefill.tok_s) == (pytest.approx(119.0, abs=0.5), 5, pytest.approx(7136, abs=80))
    assert decode.interval[0] <= decode.tok_s <= decode.interval[1]
    assert [gpu.name for gpu in found.manifest.gpus] == ["NVIDIA GeForce RTX 4080"]
    assert rules(found) == {"names-differ": "note"}


def test_llama_bench_lines_are_read_as_its_list_is() -> None:
    lines = "\n".join(json.dumps(test) for test in json.loads(text("llama-bench.json")))
    [found] = parse_results(lines, "bench.jsonl")
    assert found.summary == imported("llama-bench.json").summary


@pytest.mark.parametrize(
    ("layers", "experts", "tripped"), [(10, 0, True), (25, 0, False), (-1, 0, False), (99, 0, False), (99, 8, True)]
)
def test_layers_that_llama_bench_left_on_the_cpu_are_found(layers: int, experts: int, tripped: bool) -> None:
    tests = json.loads(text("llama-bench.json"))
    reported = {"model_type": "gpt-oss 20B MXFP4 MoE", "n_gpu_layers": layers, "n_cpu_moe": experts}
    [found] = parse_results(json.dumps([{**test, **reported} for test in tests]), "bench.json")
    assert ("partial-offload" in rules(found)) is tripped


@pytest.mark.parametrize(
    ("name", "load_s", "cold"), [("ollama-verbose.txt", 0.0547, False), ("ollama-verbose-cold.txt", 64.1449, True)]
)
def test_times_of_ollama_are_read_and_loading_inside_them_is_found(name: str, load_s: float, cold: bool) -> None:
    found = imported(name)
    assert found.requests.server_load_s[0] == pytest.approx(load_s, rel=0.001)
    assert found.summary.server_tok_s[0] == pytest.approx(
        float(text(name).split("eval rate:")[-1].split()[0]), abs=0.01
    )
    assert ("cold-load-inside" in rules(found)) is cold


def test_each_block_of_ollama_is_one_request() -> None:
    [found] = parse_results(text("ollama-verbose-cold.txt") + "\n>>> again\n\n" + text("ollama-verbose.txt"), "two.txt")
    assert list(found.requests.completion_tokens) == [859, 93]


@pytest.mark.parametrize("content", ["", "hello", "{}", "[]", "[1, 2]", '{"a": 1}\n{"b": 2}', "null"])
def test_a_file_of_no_known_tool_is_refused_in_one_line(content: str) -> None:
    with pytest.raises(UsageError, match=r"x\.txt is no result that can be read"):
        parse_results(content, "x.txt")
