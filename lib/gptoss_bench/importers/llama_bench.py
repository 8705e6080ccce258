"""Read `llama-bench` in all its forms: json, jsonl, csv and the Markdown table that it prints by default.

It measures prompt and decode rates of llama.cpp in one process, without a server.
"""

import json
import re
from collections.abc import Sequence
from statistics import fmean
from typing import Annotated

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, TokenRate, imported, reported_load
from gptoss_bench.importers.plain_text import csv_rows
from gptoss_bench.importers.tool_file import Count, Number, Tool, ToolFile
from gptoss_bench.runs import EndpointRecord, InstalledGpu, Manifest
from gptoss_bench.stats import interval_over_runs

TOOL = Tool("llama-bench", "builds since 2025-05")
_MARKS = frozenset({"avg_ts", "n_gen", "n_prompt"})
# What a test is, and what was measured in it; all other fields are settings, which set the results of a file apart.
_OF_A_TEST = frozenset({"n_prompt", "n_gen", "n_depth", "test_time", "avg_ns", "stddev_ns", "avg_ts", "stddev_ts"})
_SAMPLES = frozenset({"samples_ns", "samples_ts"})
LAYERS = {"gpt-oss 20B": 24, "gpt-oss 120B": 36}  # transformer blocks; the output layer counts as one more
NOTES = ("it runs in one process: no server, no HTTP, no tokenising and no sampling are in its times",)

# The columns of the Markdown table by the names of the other forms; columns of settings keep their own names.
_COLUMNS = {"model": "model_type", "ngl": "n_gpu_layers"}
_TEST = re.compile(r"(?P<kind>pp|tg) ?(?P<tokens>[0-9]{1,9})(?: ?@ ?d(?P<depth>[0-9]{1,9}))?")
_RATE = re.compile(r"([0-9]+(?:\.[0-9]+)?)(?: *± *([0-9]+(?:\.[0-9]+)?))?")
_BUILD = re.compile(r"(?m)^build: ([0-9a-f]{5,40}) \(([0-9]{1,9})\)")


class BenchTest(ToolFile):
    """One test: tokens of prompt or of decoding, and its tokens per second, mean and each repetition."""

    model_type: str | None = None
    n_gpu_layers: Annotated[int, Field(ge=-(2**31), lt=2**31)] | None = None
    n_cpu_moe: Count | None = None
    gpu_info: str | None = None
    build_commit: str | None = None
    build_number: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    n_gen: Count
    n_prompt: Count
    n_depth: Count = 0
    avg_ts: Number
    samples_ts: list[Number] | None = None

    @property
    def rate(self) -> TokenRate:
        """Return tokens per second: the mean, and its interval over at least 3 repetitions."""
        samples = self.samples_ts
        return TokenRate(
            tokens=self.n_gen or self.n_prompt,
            depth=self.n_depth,
            n=len(samples) if samples else None,
            tok_s=fmean(samples) if samples else self.avg_ts,
            interval=interval_over_runs(samples).ends if samples else None,
        )


class BenchTests(ToolFile):
    """All tests of a file."""

    tests: list[BenchTest]


def parse_llama_bench(content: JsonValue | Sequence[JsonValue], file: str) -> list[ImportedResult]:
    """Return one result per model, build and settings of a parsed list of tests; empty for another format.

    Raises UsageError for a wrong field.
    """
    tests = content if isinstance(content, list) else [content]
    if not tests or not all(isinstance(test, dict) and test.keys() >= _MARKS for test in tests):
        return []
    found = BenchTests.read({"tests": tests}, file=file, tool=TOOL)
    groups: dict[str, list[BenchTest]] = {}
    for given, test in zip(tests, found.tests, strict=True):
        assert isinstance(given, dict)
        settings = {name: value for name, value in given.items() if name not in _OF_A_TEST | _SAMPLES}
        groups.setdefault(json.dumps(settings, sort_keys=True), []).append(test)
    return [_result(tests) for tests in groups.values()]


def parse_llama_bench_csv(text: str, file: str) -> list[ImportedResult]:
    """Return the results of `-o csv`; empty for other text. Raises UsageError for a wrong number."""
    lines = csv_rows(text)
    heads = next(lines, [])
    if not set(heads) >= _MARKS:
        return []
    rows = [dict(zip(heads, row, strict=False)) for row in lines if row]
    return parse_llama_bench([{name: _typed(name, cell) for name, cell in row.items()} for row in rows], file)


def parse_llama_bench_tables(text: str, file: str) -> list[ImportedResult]:
    """Return the results of the Markdown tables of a text; empty without one. Raises UsageError for a wrong number."""
    tests: list[JsonValue] = []
    heads: list[str] = []
    build = _BUILD.search(text)
    for line in text.splitlines():
        cells = [cell.strip(" *`") for cell in line.strip().strip("|").split("|")]
        if {"test", "t/s"} <= set(cells):
            heads = cells
        elif len(cells) != len(heads):
            heads = []  # the table is over
        elif (test := _TEST.fullmatch((row := dict(zip(heads, cells, strict=True)))["test"])) and (
            rate := _RATE.fullmatch(row["t/s"])
        ):
            settings = {_COLUMNS.get(name, name): cell for name, cell in row.items() if name not in ("test", "t/s")}
            tests.append(
                {
                    **{name: _typed(name, cell) for name, cell in settings.items()},
                    "n_prompt": int(test["tokens"]) if test["kind"] == "pp" else 0,
                    "n_gen": int(test["tokens"]) if test["kind"] == "tg" else 0,
                    "n_depth": int(test["depth"] or 0),
                    "avg_ts": float(rate[1]),
                    "build_commit": build[1] if build else None,
                    "build_number": int(build[2]) if build else None,
                }
            )
    return parse_llama_bench(tests, file) if tests else []


def _typed(name: str, cell: str) -> JsonValue:
    """Return a cell of a text as the type that its field has in JSON."""
    numbers = {"n_gpu_layers", "n_cpu_moe", "build_number", *_OF_A_TEST} - {"test_time"}
    if name not in numbers:
        return cell
    if re.fullmatch(r"-?[0-9]{1,18}", cell):
        return int(cell)
    try:
        return float(cell)
    except ValueError:
        return cell


def _result(tests: Sequence[BenchTest]) -> ImportedResult:
    first = tests[0]
    decode = [test.rate for test in tests if test.n_gen and not test.n_prompt]
    prefill = [test.rate for test in tests if test.n_prompt and not test.n_gen]
    summary = reported_load(
        completed=None, concurrency=1, prefill=prefill, decode=decode, output_tok_s=decode[0].tok_s if decode else None
    )
    layers = [n for name, n in LAYERS.items() if (first.model_type or "").startswith(name)]
    facts: dict[str, JsonValue] = {
        "gpu_layers": first.n_gpu_layers if first.gpu_info else None,
        "layers": layers[0] + 1 if layers else None,
        "cpu_moe_layers": first.n_cpu_moe,
    }
    build = None if first.build_number is None else f"{first.build_number} ({first.build_commit})"
    manifest = Manifest(
        gpus=[InstalledGpu(name=first.gpu_info)] if first.gpu_info else [],
        endpoint=EndpointRecord(engine="llama.cpp", version=build, model=first.model_type, facts=facts),
    )
    version = None if first.build_number is None else str(first.build_number)
    notes = [*NOTES]
    if any(test.n_gen and test.n_prompt for test in tests):
        notes.append("tests of prompt and generation together (-pg) are left out: they are no rate of either")
    return imported(TOOL, version, summary, manifest=manifest, notes=notes)
