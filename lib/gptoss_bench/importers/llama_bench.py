"""Read `llama-bench -o json` or jsonl: prompt and decode rates of llama.cpp in one process, without a server."""

from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, TokenRate, reported_only
from gptoss_bench.importers.tool_file import Count, Number, ToolFile
from gptoss_bench.runs import EndpointRecord, InstalledGpu, Manifest, derive_tables
from gptoss_bench.stats import interval_over_runs

TOOL = "llama-bench"
_MARKS = ("avg_ts", "n_gen", "n_prompt")
LAYERS = {"gpt-oss 20B": 24, "gpt-oss 120B": 36}  # transformer blocks; the output layer counts as one more
NOTES = ("it runs in one process: no server, no HTTP, no tokenising and no sampling are in its times",)


class BenchTest(ToolFile):
    """One test: tokens of prompt or of decoding, and its tokens per second, mean and each repetition."""

    model_filename: str
    model_type: str | None = None
    n_gpu_layers: Annotated[int, Field(ge=-(2**31), lt=2**31)]
    n_cpu_moe: Count | None = None
    gpu_info: str | None = None
    build_commit: str | None = None
    build_number: int | None = None
    n_gen: Count
    n_prompt: Count
    n_depth: Count = 0
    avg_ts: Number
    samples_ts: list[Number] | None = None

    @property
    def rate(self) -> TokenRate:
        """Return tokens per second: the mean, and its interval over at least 3 repetitions."""
        samples = self.samples_ts or [self.avg_ts]
        return TokenRate(
            tokens=self.n_gen or self.n_prompt,
            depth=self.n_depth,
            n=len(samples),
            tok_s=fmean(samples),
            interval=interval_over_runs(samples).ends,
        )


class BenchTests(ToolFile):
    """All tests of a file."""

    tests: list[BenchTest]


def parse_llama_bench(content: JsonValue | Sequence[JsonValue], file: str) -> list[ImportedResult]:
    """Return one result per model of a parsed list of tests; empty for another format.

    Raises UsageError for a wrong field.
    """
    tests = content if isinstance(content, list) else [content]
    if not tests or not all(isinstance(test, dict) and set(_MARKS) <= set(test) for test in tests):
        return []
    found = BenchTests.read({"tests": tests}, file=file, tool=TOOL)
    models: dict[tuple[str, int, str | None], list[BenchTest]] = {}
    for test in found.tests:
        models.setdefault((test.model_filename, test.n_gpu_layers, test.build_commit), []).append(test)
    return [_model(tests) for tests in models.values()]


def _model(tests: Sequence[BenchTest]) -> ImportedResult:
    first = tests[0]
    decode = [test.rate for test in tests if test.n_gen and not test.n_prompt]
    prefill = [test.rate for test in tests if test.n_prompt and not test.n_gen]
    summary = reported_only(1, prefill=prefill, decode=decode, output_tok_s=decode[0].tok_s if decode else None)
    layers = [n for name, n in LAYERS.items() if (first.model_type or "").startswith(name)]
    facts: dict[str, JsonValue] = {
        "gpu_layers": first.n_gpu_layers if first.gpu_info else None,
        "layers": layers[0] + 1 if layers else None,
        "cpu_moe_layers": first.n_cpu_moe,
    }
    build = f"{first.build_number} ({first.build_commit})"
    manifest = Manifest(
        gpus=[InstalledGpu(name=first.gpu_info)] if first.gpu_info else [],
        endpoint=EndpointRecord(engine="llama.cpp", version=build, model=first.model_type, facts=facts),
    )
    return ImportedResult(TOOL, str(first.build_number), summary, derive_tables([])[0], manifest, NOTES)
