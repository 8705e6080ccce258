"""Small result files in the forms of other tools, made by hand: the text of each by a name that says tool and form."""

import json
from typing import Any

import yaml

# 20 requests of 8 in flight in 4 s, 10 tokens each: 5 requests/s, 50 tokens/s.
VLLM: dict[str, Any] = {
    "date": "20250530-190000",
    "backend": "vllm",
    "model_id": "openai/gpt-oss-20b",
    "num_prompts": 20,
    "request_rate": "inf",
    "max_concurrency": 8,
    "duration": 4.0,
    "completed": 20,
    "total_input_tokens": 400,
    "total_output_tokens": 200,
    "request_throughput": 5.0,
    "output_throughput": 50.0,
    "total_token_throughput": 150.0,
    "mean_ttft_ms": 110.0,
    "median_ttft_ms": 100.0,
    "p99_ttft_ms": 190.0,
    "mean_tpot_ms": 52.0,
    "median_tpot_ms": 50.0,
    "p99_tpot_ms": 60.0,
    "mean_itl_ms": 52.0,
    "median_itl_ms": 51.0,
    "p99_itl_ms": 61.0,
}
VLLM_BY_VERSION: dict[str, dict[str, Any]] = {
    "vllm-0.9.json": {**VLLM, "request_goodput:": None},
    "vllm-0.10.json": {**VLLM, "endpoint_type": "openai-comp", "label": None, "request_goodput": None},
    "vllm-0.12.json": {
        **VLLM,
        "endpoint_type": "openai-chat",
        "backend": "openai-chat",
        "failed": 0,
        "max_output_tokens_per_s": 80.0,
        "max_concurrent_requests": 9,
    },
    "vllm-0.25.json": {**VLLM, "endpoint_type": "openai", "failed": 0, "rtfx": 0.0, "median_e2el_ms": 560.0},
}
# 3 of 4 tokens of a draft accepted: 60 drafts for 180 of 200 tokens.
VLLM_SPECULATIVE = {
    **VLLM,
    "mean_itl_ms": 156.0,
    "median_itl_ms": 150.0,
    "spec_decode_acceptance_length": 3.0,
    "spec_decode_num_drafts": 60,
}
VLLM_ALL_FAILED = {
    **{name: 0.0 if name.endswith(("_ms", "_throughput")) else value for name, value in VLLM.items()},
    **{"completed": 0, "failed": 20, "total_input_tokens": 0, "total_output_tokens": 0},
}
VLLM_ZEROS = {**VLLM, **{f"{at}_{its}_ms": 0.0 for at in ("mean", "median", "p99") for its in ("ttft", "itl")}}
SGLANG = {
    **{name: VLLM[name] for name in VLLM if name not in ("date", "model_id", "num_prompts", "total_token_throughput")},
    "backend": "sglang-oai",
    "total_output_tokens_retokenized": 190,
    "input_throughput": 100.0,
    "total_throughput": 150.0,
    "mean_e2e_latency_ms": 600.0,
    "median_e2e_latency_ms": 560.0,
    "p99_e2e_latency_ms": 800.0,
    "concurrency": 3.0,
    "accept_length": None,
    "server_info": {"version": "0.5.23", "model_path": "openai/gpt-oss-20b"},
}
VLLM_BLOCK = """Maximum request concurrency: 8
100%|##########| 20/20 [00:04<00:00,  5.00it/s]\r
============ Serving Benchmark Result ============
Successful requests:                     20
Failed requests:                         0
Benchmark duration (s):                  4.00
Total input tokens:                      400
Total generated tokens:                  200
Request throughput (req/s):              5.00
Output token throughput (tok/s):         50.00
Peak output token throughput (tok/s):    80.00
Total Token throughput (tok/s):          150.00
---------------Time to First Token----------------
Mean TTFT (ms):                          110.00
Median TTFT (ms):                        100.00
P99 TTFT (ms):                           190.00
-----Time per Output Token (excl. 1st token)------
Mean TPOT (ms):                          52.00
Median TPOT (ms):                        50.00
P99 TPOT (ms):                           60.00
---------------Inter-token Latency----------------
Mean ITL (ms):                           52.00
Median ITL (ms):                         51.00
P99 ITL (ms):                            61.00
==================================================
"""
SGLANG_BLOCK = """
============ Serving Benchmark Result ============
Backend:                                 sglang-oai
Traffic request rate:                    inf
Max request concurrency:                 8
Successful requests:                     20
Benchmark duration (s):                  4.00
Total input tokens:                      400
Total generated tokens:                  200
Total generated tokens (retokenized):    190
Request throughput (req/s):              5.00
Input token throughput (tok/s):          100.00
Output token throughput (tok/s):         50.00
Total token throughput (tok/s):          150.00
Concurrency:                             3.00
----------------End-to-End Latency----------------
Mean E2E Latency (ms):                   600.00
Median E2E Latency (ms):                 560.00
P99 E2E Latency (ms):                    800.00
---------------Time to First Token----------------
Mean TTFT (ms):                          110.00
Median TTFT (ms):                        100.00
P99 TTFT (ms):                           190.00
"""

# One request: sent at 1000 s, first token after 0.1 s, last of 10 tokens after 0.55 s: TPOT (0.55 - 0.1) / 9 = 50 ms.
_MOMENTS = {"start": 1000.0, "first": 1000.1, "last": 1000.55}
GUIDELLM_0_3 = {
    "benchmarks": [
        {
            "type_": "generative_benchmark",
            "args": {
                "strategy": {"type_": "concurrent", "streams": 4},
                "warmup_number": None,
                "warmup_duration": None,
            },
            "worker": {"type_": "x", "backend_target": "http://localhost:8000", "backend_model": "gpt-oss"},
            "requests": {
                "successful": [
                    {
                        "prompt": "p",
                        "prompt_tokens": 20,
                        "output_tokens": 10,
                        "start_time": _MOMENTS["start"],
                        "first_token_time": _MOMENTS["first"],
                        "last_token_time": _MOMENTS["last"],
                    }
                ],
                "errored": [{"prompt": "p", "start_time": 1000.2, "error": "refused"}],
                "incomplete": [],
            },
        }
    ]
}


def _guidellm(first: str, last: str, *, report: dict[str, Any]) -> dict[str, Any]:
    timings = {"request_start": _MOMENTS["start"], first: _MOMENTS["first"], last: _MOMENTS["last"]}
    request = {"prompt_tokens": 20, "output_tokens": 10, "info": {"timings": timings, "error": None}}
    failed = {"info": {"timings": {"request_start": 1000.2}, "error": "refused"}}
    benchmark = {
        "type_": "generative_benchmark",
        "config": {"strategy": {"type_": "concurrent", "streams": 4}, "warmup": {"value": None}},
        "requests": {"successful": [request], "errored": [failed], "incomplete": []},
    }
    return {**report, "benchmarks": [benchmark]}


GUIDELLM_0_4 = _guidellm(
    "first_iteration", "last_iteration", report={"args": {"target": "http://localhost:8000", "model": "gpt-oss"}}
)
GUIDELLM_0_6 = _guidellm(
    "first_token_iteration",
    "last_token_iteration",
    report={
        "metadata": {"version": 1, "guidellm_version": "0.6.0"},
        "args": {"target": "http://localhost:8000", "model": "gpt-oss"},
    },
)
GUIDELLM_SAMPLED = {
    "benchmarks": [
        {
            "type_": "generative_benchmark",
            "duration": 4.0,
            "config": {"strategy": {"type_": "synchronous"}},
            "requests": {"successful": [], "errored": [], "incomplete": []},
            "metrics": {
                "request_totals": {"successful": 20, "errored": 1, "incomplete": 2, "total": 23},
                "requests_per_second": {"successful": {"mean": 5.0}},
                "output_tokens_per_second": {"successful": {"mean": 50.0}},
                "output_token_count": {"successful": {"mean": 10.0, "total_sum": 200.0}},
                "request_latency": {"successful": {"mean": 0.6, "count": 20, "percentiles": {"p50": 0.56}}},
                "time_to_first_token_ms": {"successful": {"count": 20, "percentiles": {"p50": 100.0, "p99": 190.0}}},
                "inter_token_latency_ms": {"successful": {"count": 20, "percentiles": {"p50": 50.0}}},
            },
        }
    ]
}

_PERCENTILES: dict[str, Any] = {
    "request_throughput": {"unit": "requests/sec", "avg": 5.0},
    "request_latency": {"unit": "ms", "avg": 600.0, "p50": 560.0, "p90": 700.0, "p99": 800.0},
    "request_count": {"unit": "requests", "avg": 20.0},
    "time_to_first_token": {"unit": "ms", "avg": 110.0, "p50": 100.0, "p90": 150.0, "p99": 190.0},
    "inter_token_latency": {"unit": "ms", "avg": 52.0, "p50": 50.0, "p90": 55.0, "p99": 60.0},
    "output_token_throughput": {"unit": "tokens/sec", "avg": 50.0},
    "output_sequence_length": {"unit": "tokens", "avg": 10.0},
}
AIPERF_OLD = {
    **_PERCENTILES,
    "input_config": {"endpoint": {"model_names": ["gpt-oss"]}, "loadgen": {"concurrency": 8}},
    "was_cancelled": False,
    "error_summary": [],
}
GENAI_PERF = {
    **_PERCENTILES,
    "input_config": {"model_names": ["gpt-oss"], "perf_analyzer": {"stimulus": {"concurrency": 8}}},
}
GENAI_PERF_CSV = """Metric,avg,min,max,p99,p95,p90,p75,p50,p25
Time To First Token (ms),110.00,90.00,200.00,190.00,180.00,150.00,120.00,100.00,95.00
Time To Second Token (ms),52.00,40.00,70.00,60.00,58.00,55.00,52.00,50.00,45.00
Request Latency (ms),600.00,500.00,"1,000.00",800.00,750.00,700.00,600.00,560.00,550.00
Inter Token Latency (ms),52.00,40.00,70.00,60.00,58.00,55.00,52.00,50.00,45.00
Output Sequence Length (tokens),10.00,10.00,10.00,10.00,10.00,10.00,10.00,10.00,10.00

Metric,Value
Output Token Throughput (per sec),50.00
Request Throughput (per sec),5.00
Request Count (count),20.00
"""
AIPERF_LINE = {
    "metadata": {"timestamp_ns": 1_759_000_000_000_000_000, "credit_phase": "profiling"},
    "metrics": {
        "ttft": {"value": 100.0, "unit": "ms"},
        "request_latency": {"value": 550.0, "unit": "ms"},
        "output_sequence_length": {"value": 10, "unit": "tokens"},
        "input_sequence_length": {"value": 20, "unit": "tokens"},
    },
    "error": None,
}
INFERENCE_PERF = {
    "load_summary": {"count": 20},
    "successes": {
        "count": 20,
        "latency": {
            "request_latency": {"mean": 0.6, "median": 0.56, "p90": 0.7, "p99": 0.8},
            "time_to_first_token": {"mean": 0.11, "median": 0.1, "p90": 0.15},
            "time_per_output_token": {"mean": 0.052, "median": 0.05, "p90": 0.055},
            "inter_token_latency": {"mean": 0.052, "median": 0.051, "p90": 0.056},
        },
        "throughput": {"output_tokens_per_sec": 50.0, "requests_per_sec": 5.0},
        "output_len": {"mean": 10.0},
    },
    "failures": {"count": 0},
}
MLPERF = {
    "version": "1.0",
    "n_samples_issued": 20,
    "n_samples_completed": 20,
    "n_samples_failed": 0,
    "duration_ns": 4_000_000_000,
    "state": "complete",
    "ttft": {"avg": 110e6, "percentiles": {"50": 100e6, "90": 150e6, "99": 190e6}},
    "tpot": {"avg": 52e6, "percentiles": {"50.0": 50e6, "99.0": 60e6}},
    "latency": {"avg": 600e6, "percentiles": {"50": 560e6, "99": 800e6}},
    "output_sequence_lengths": {"avg": 10.0, "total": 200},
    "qps": 5.0,
    "tps": 50.0,
}
LOADGEN = """================================================
MLPerf Results Summary
================================================
SUT name : PySUT
Scenario : Server
Mode     : PerformanceOnly
Completed samples per second    : 5.00
Result is : INVALID
  Performance constraints satisfied : NO

================================================
Additional Stats
================================================
Scheduled samples per second : 5.10
Mean latency (ns)               : 600000000
50.00 percentile latency (ns)   : 560000000
99.00 percentile latency (ns)   : 800000000

Completed tokens per second                 : 50.00
Mean First Token latency (ns)               : 110000000
50.00 percentile first token latency (ns)   : 100000000
99.00 percentile first token latency (ns)   : 190000000

Mean Time per Output Token (ns)             : 52000000
50.00 percentile time to output token (ns)   : 50000000
"""

_LLAMA = {"build_commit": "1c1409e1", "build_number": 6865, "gpu_info": "GPU", "model_type": "gpt-oss 20B"}
LLAMA_BENCH = [
    {**_LLAMA, "n_gpu_layers": 99, "n_prompt": 512, "n_gen": 0, "n_depth": 4096, "avg_ts": 900.0, "samples_ts": [900]},
    {
        **_LLAMA,
        "n_gpu_layers": 99,
        "n_prompt": 0,
        "n_gen": 128,
        "n_depth": 0,
        "avg_ts": 80.0,
        "samples_ts": [79, 80, 81],
    },
    {**_LLAMA, "n_gpu_layers": 98, "n_prompt": 0, "n_gen": 128, "n_depth": 0, "avg_ts": 70.0},
]
LLAMA_BENCH_CSV = """build_commit,build_number,gpu_info,model_type,n_gpu_layers,n_prompt,n_gen,n_depth,avg_ts,stddev_ts
"1c1409e1","6865","GPU","gpt-oss 20B","99","512","0","4096","900.0","1.0"
"1c1409e1","6865","GPU","gpt-oss 20B","99","0","128","0","80.0","1.0"
"""
LLAMA_BENCH_TABLE = """| model       |      size | backend | ngl |           test |            t/s |
| ----------- | --------: | ------- | --: | -------------: | -------------: |
| gpt-oss 20B | 11.27 GiB | CUDA    |  99 | pp512 @ d4096  |  900.00 ± 1.00 |
| gpt-oss 20B | 11.27 GiB | CUDA    |  99 |          tg128 |   80.00 ± 1.00 |

build: 1c1409e1 (6865)
"""
OLLAMA_TEXT = """total duration:       3s
load duration:        500ms
prompt eval count:    100 token(s)
prompt eval duration: 250ms
prompt eval rate:     400.00 tokens/s
eval count:           80 token(s)
eval duration:        2s
eval rate:            40.00 tokens/s
"""
OLLAMA_OBJECT = {
    "model": "gpt-oss:20b",
    "done": True,
    "total_duration": 3_000_000_000,
    "load_duration": 500_000_000,
    "prompt_eval_count": 100,
    "prompt_eval_duration": 250_000_000,
    "eval_count": 80,
    "eval_duration": 2_000_000_000,
}
# Times in ms as of vLLM's benchmark, and the parts that this kit does not read.
BENCHMARK_REPORT: dict[str, Any] = {
    "version": "0.2.1",
    "run": {"uid": "0f1e", "time": {"start": "2026-10-01T10:00:00Z", "duration": "PT9S"}, "keywords": ["TINY MODEL"]},
    "scenario": {
        "stack": [
            {
                "metadata": {"label": "router", "cfg_id": "a1"},
                "standardized": {"kind": "generic", "tool": "scheduler", "tool_version": "0.3.2", "model": [1]},
                "native": {},
            },
            {
                "metadata": {"label": "decode", "cfg_id": "b2"},
                "standardized": {
                    "kind": "inference_engine",
                    "tool": "vllm",
                    "tool_version": "0.25.0",
                    "role": "decode",
                    "replicas": 1,
                    "model": {"name": "openai/gpt-oss-20b"},
                    "accelerator": {"model": "NVIDIA-H100-80GB-HBM3", "count": 2, "parallelism": {"tp": 2}},
                },
                "native": {"args": {"--tensor-parallel-size": 2}},
            },
        ],
        "load": {
            "metadata": {"cfg_id": "c3"},
            "standardized": {
                "tool": "vllm-benchmark",
                "tool_version": "0.25.0",
                "source": "random",
                "input_seq_len": {"distribution": "fixed", "value": 20},
                "concurrency": 8,
                "multi_turn": {"enabled": False},
            },
            "native": {},
        },
    },
    "results": {
        "request_performance": {
            "aggregate": {
                "requests": {
                    "total": 20,
                    "failures": 0,
                    "output_length": {"units": "count", "mean": 10.0},
                    "multimodal": {"image": {"count": {"units": "count", "mean": 2.0}}},
                },
                "latency": {
                    "time_to_first_token": {"units": "ms", "mean": 110.0, "p50": 100.0, "p95": 170.0, "p99": 190.0},
                    "time_per_output_token": {"units": "ms/token", "mean": 52.0, "p50": 50.0, "p99": 60.0},
                    "request_latency": {"units": "s", "mean": 0.6, "p50": 0.56, "p90": 0.7, "p99": 0.8},
                },
                "throughput": {
                    "output_token_rate": {"units": "tokens/s", "mean": 50.0},
                    "request_rate": {"units": "queries/s", "mean": 5.0},
                },
            },
            "time_series": {"latency": {}},
        },
        "session_performance": {"sessions": {"total": 2}},
    },
}
# The same in YAML, with a time that YAML reads as one, and no limit of requests in flight.
BENCHMARK_REPORT_YAML = yaml.safe_dump(BENCHMARK_REPORT).replace("concurrency: 8", "concurrency: .inf")
BENCHMARK_REPORT_YAML = BENCHMARK_REPORT_YAML.replace("'2026-10-01T10:00:00Z'", "2026-10-01T10:00:00Z")
JSON_FORMS: dict[str, Any] = {
    **VLLM_BY_VERSION,
    "vllm-speculative.json": VLLM_SPECULATIVE,
    "sglang.jsonl": SGLANG,
    "guidellm-0.3.json": GUIDELLM_0_3,
    "guidellm-0.4.json": GUIDELLM_0_4,
    "guidellm-0.6.json": GUIDELLM_0_6,
    "guidellm-sampled.json": GUIDELLM_SAMPLED,
    "aiperf-2025.json": AIPERF_OLD,
    "aiperf-2025.jsonl": AIPERF_LINE,
    "genai-perf.json": GENAI_PERF,
    "inference-perf.json": INFERENCE_PERF,
    "mlperf-endpoints.json": MLPERF,
    "benchmark-report.json": BENCHMARK_REPORT,
    "llama-bench-depths.json": LLAMA_BENCH,
    "ollama-object.json": OLLAMA_OBJECT,
}
TEXT_FORMS = {
    "vllm-block.txt": VLLM_BLOCK,
    "sglang-block.txt": SGLANG_BLOCK,
    "genai-perf.csv": GENAI_PERF_CSV,
    "loadgen.txt": LOADGEN,
    "llama-bench.csv": LLAMA_BENCH_CSV,
    "llama-bench.md": LLAMA_BENCH_TABLE,
    "ollama.txt": OLLAMA_TEXT,
    "benchmark-report.yaml": BENCHMARK_REPORT_YAML,
}
FORMS = {**{name: json.dumps(content) for name, content in JSON_FORMS.items()}, **TEXT_FORMS}
