"""Files of other tools with a wrong field: a result, or one line that names file, field, value and tool."""

import contextlib
import copy
import functools
import gzip
import json
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from folders import TESTS
from gptoss_bench.importers.detect import parse_results
from gptoss_bench.lint.check import check_result
from gptoss_bench.lint.results import Result
from gptoss_bench.stats.comparison import compare_results
from gptoss_bench.stats.side_by_side import points_side_by_side
from gptoss_client.errors import UsageError
from tool_files import JSON_FORMS, TEXT_FORMS

FILES = TESTS / "imported"
JSON_FILES = [
    "vllm-bench-serve.json",
    "vllm-bench-serve-detailed.json",
    "guidellm.json.gz",
    "aiperf.json",
    "aiperf.jsonl.gz",
    "llama-bench.json",
    *JSON_FORMS,
]
TEXTS = [(FILES / name).read_text() for name in ("ollama-verbose.txt", "ollama-verbose-cold.txt", "write-up.txt")]
TEXTS += TEXT_FORMS.values()


@functools.cache
def documents(name: str) -> list[Any]:
    """The JSON documents of a file, one per line for JSON lines; lists are cut to three entries."""
    if name in JSON_FORMS:
        return [JSON_FORMS[name]]
    file = FILES / name
    text = gzip.decompress(file.read_bytes()).decode() if file.suffix == ".gz" else file.read_text()
    return [shortened(json.loads(line)) for line in (text.splitlines()[:3] if "jsonl" in name else [text])]


def shortened(content: Any) -> Any:
    if isinstance(content, dict):
        return {key: shortened(value) for key, value in content.items()}
    return [shortened(value) for value in content[:3]] if isinstance(content, list) else content


def places(content: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place of a JSON document, as keys and indices."""
    inner = content.items() if isinstance(content, dict) else enumerate(content) if isinstance(content, list) else ()
    return [at, *(place for key, value in inner for place in places(value, (*at, key)))]


def changed(name: str, place: tuple[Any, ...], value: Any) -> str:
    """The text of a file with another value at a place of its first document."""
    content = [copy.deepcopy(one) for one in documents(name)]
    parent: Any = content
    for step in (0, *place)[:-1]:
        parent = parent[step]
    parent[(0, *place)[-1]] = value
    return "\n".join(json.dumps(one) for one in content)


def without(name: str, *place: Any) -> str:
    content = [copy.deepcopy(one) for one in documents(name)]
    parent = content[0]
    for step in place[:-1]:
        parent = parent[step]
    del parent[place[-1]]
    return "\n".join(json.dumps(one) for one in content)


def line(text: str) -> str:
    with pytest.raises(UsageError) as error:
        parse_results(text, "bench.json")
    assert "\n" not in str(error.value)
    return str(error.value)


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (without("vllm-bench-serve.json", "completed"), "completed is missing"),
        (changed("vllm-bench-serve.json", ("completed",), "24"), "completed is '24'; it has to be a whole number"),
        (changed("vllm-bench-serve.json", ("p99_itl_ms",), [1]), "p99_itl_ms is [1]; it has to be a number"),
        (changed("vllm-bench-serve-detailed.json", ("itls", 1), 3), "itls[1] is 3; it has to be a list"),
        (without("vllm-bench-serve-detailed.json", "ttfts", 0), "ttfts has 2 entries, start_times has 3"),
        (without("guidellm.json.gz", "benchmarks"), "benchmarks is missing"),
        (
            changed("guidellm.json.gz", ("benchmarks", 0, "requests", "successful", 1, "info", "timings"), 1),
            "benchmarks[0].requests.successful[1].info.timings is 1; it has to be a mapping",
        ),
        (changed("aiperf.json", ("request_latency", "unit"), "x"), "request_latency.unit is 'x'; choose from ms"),
        (
            changed("aiperf.jsonl.gz", ("metadata", "request_start_ns"), -1),
            "lines[0].metadata.request_start_ns is -1; input should be greater than or equal to 0",
        ),
        (
            changed("aiperf.jsonl.gz", ("metrics", "request_latency", "value"), 1e15),
            "lines[0].metrics.request_latency is {'value': 1000000000000000.0, 'unit': 'ms'}; a time is at",
        ),
        (changed("llama-bench.json", (0, "n_gpu_layers"), "all"), "tests[0].n_gpu_layers is 'all'"),
        (
            (FILES / "ollama-verbose.txt").read_text().replace("eval count:  ", "eval count: many"),
            "prompt eval count is 'many",
        ),
    ],
)
def test_a_wrong_field_is_one_line_that_names_file_field_and_tool(text: str, expected: str) -> None:
    found = line(text)
    assert found.startswith(f"bench.json: {expected}"), found
    assert "truncated" in found


def test_a_file_with_many_wrong_fields_shows_the_first_and_their_number() -> None:
    content = documents("llama-bench.json")[0]
    text = json.dumps([{"avg_ts": None, "n_gen": 1, "n_prompt": "1"} for _ in content])
    assert "bench.json: tests[0].n_prompt is '1'; it has to be a whole number (3 more fields are wrong)" in line(text)


SCALARS = st.none() | st.booleans() | st.integers() | st.floats() | st.text()
VALUES = st.recursive(
    SCALARS, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3), max_leaves=6
)
PLACES = [(name, place) for name in JSON_FILES for place in places(documents(name)[0])]


def read_and_check(text: str) -> None:
    with contextlib.suppress(UsageError):
        for found in parse_results(text, "bench.json"):
            result = Result(found.title, found.summary, found.requests, found.manifest, found.notes)
            check_result(result)
            points_side_by_side([result])
            compare_results([result.side], [result.side])


@settings(deadline=None, max_examples=200)
@given(st.sampled_from(PLACES), VALUES | st.sampled_from([10**400, -1, "1", "nan", 1e308]))
@example(("vllm-bench-serve.json", ("duration",)), 0)
@example(("vllm-bench-serve-detailed.json", ("start_times", 0)), 9e9)
@example(("vllm-bench-serve-detailed.json", ("latencies", 0)), -1e9)
@example(("aiperf.json", ("request_count", "avg")), 1e15)
@example(("aiperf.jsonl.gz", ("metrics", "request_latency", "value")), 1e15)
@example(("llama-bench.json", (0, "samples_ts")), [])
def test_any_value_in_any_field_gives_a_result_or_a_usage_error(place: tuple[str, tuple[Any, ...]], value: Any) -> None:
    read_and_check(changed(*place, value))


KEYS = [(name, place) for name, place in PLACES if place and isinstance(place[-1], str)]


@settings(deadline=None, max_examples=100)
@given(st.sampled_from(KEYS))
def test_any_key_may_be_missing(place: tuple[str, tuple[Any, ...]]) -> None:
    name, path = place
    read_and_check(without(name, *path))


@settings(deadline=None, max_examples=150)
@given(st.sampled_from(TEXTS), st.data())
def test_any_text_in_any_place_gives_a_result_or_a_usage_error(text: str, data: st.DataObject) -> None:
    at = data.draw(st.integers(0, len(text)))
    cut = data.draw(st.integers(0, 12))
    words = data.draw(st.text(max_size=5) | st.text(st.sampled_from("0123456789.hms µeE-"), max_size=20))
    read_and_check(text[:at] + words + text[at + cut :])


@pytest.mark.parametrize("text", ["\n" * 100_000, "=" * 100_000, "> " * 100_000, "a " * 100_000, "\x1b]" * 100_000])
def test_a_long_text_without_a_result_is_refused(text: str) -> None:
    assert "is no result that can be read" in line(text)


@pytest.mark.parametrize("text", ["[" * 100_000, '{"a": ' * 100_000, "[\n" * 20_000])
def test_a_text_that_is_nested_too_deeply_is_refused(text: str) -> None:
    assert "is no result that can be read" in line(text)
