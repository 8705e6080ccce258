"""Read `llama-bench -o json` or jsonl: prompt and decode rates of llama.cpp in one process, without a server."""

from collections.abc import Mapping, Sequence
from statistics import median
from typing import Any

from gptoss_bench.importers.imported_result import ImportedResult, TokenRate, reported_only
from gptoss_bench.runs import EndpointRecord, InstalledGpu, Manifest, derive_tables
from gptoss_bench.stats import bootstrap_interval, row_medians

LAYERS = {"gpt-oss 20B": 24, "gpt-oss 120B": 36}  # transformer blocks; the output layer counts as one more
NOTES = ("it runs in one process: no server, no HTTP, no tokenising and no sampling are in its times",)


def parse_llama_bench(content: Any) -> list[ImportedResult]:
    """Return one result per model of a parsed list of tests; empty for another format."""
    tests = content if isinstance(content, Sequence) and not isinstance(content, str) else [content]
    if not tests or not all(
        isinstance(test, Mapping) and {"avg_ts", "n_gen", "n_prompt"} <= set(test) for test in tests
    ):
        return []
    models = dict.fromkeys((test["model_filename"], test["n_gpu_layers"], test.get("build_commit")) for test in tests)
    return [_model([test for test in tests if _key(test) == key]) for key in models]


def _key(test: Mapping[str, Any]) -> tuple[Any, ...]:
    return test["model_filename"], test["n_gpu_layers"], test.get("build_commit")


def _model(tests: Sequence[Mapping[str, Any]]) -> ImportedResult:
    first = tests[0]
    decode = [_rate(test) for test in tests if test["n_gen"] and not test["n_prompt"]]
    prefill = [_rate(test) for test in tests if test["n_prompt"] and not test["n_gen"]]
    summary = reported_only(1, prefill=prefill, decode=decode, output_tok_s=decode[0].tok_s if decode else None)
    layers = [n for name, n in LAYERS.items() if str(first.get("model_type", "")).startswith(name)]
    facts = {
        "gpu_layers": first["n_gpu_layers"] if first.get("gpu_info") else None,
        "layers": layers[0] + 1 if layers else None,
        "cpu_moe_layers": first.get("n_cpu_moe"),
    }
    build = f"{first.get('build_number')} ({first.get('build_commit')})"
    manifest = Manifest(
        gpus=[InstalledGpu(name=first["gpu_info"])] if first.get("gpu_info") else [],
        endpoint=EndpointRecord(engine="llama.cpp", version=build, model=first.get("model_type"), facts=facts),
    )
    version = str(first.get("build_number"))
    return ImportedResult("llama-bench", version, summary, derive_tables([])[0], manifest, NOTES)


def _rate(test: Mapping[str, Any]) -> TokenRate:
    """Return tokens per second of one test: median and bootstrap interval of its repetitions, or its mean."""
    samples = test.get("samples_ts") or [test["avg_ts"]]
    return TokenRate(
        tokens=test["n_gen"] or test["n_prompt"],
        depth=test.get("n_depth", 0),
        n=len(samples),
        tok_s=median(samples),
        interval=bootstrap_interval(samples, row_medians),
    )
