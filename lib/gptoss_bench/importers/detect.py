"""Find out which tool wrote a result file or printed a text, and read it."""

from collections.abc import Callable, Sequence

from pydantic import JsonValue

from gptoss_bench.importers.aiperf import parse_aiperf, parse_aiperf_csv, parse_aiperf_lines
from gptoss_bench.importers.benchmark_report import parse_benchmark_report, parse_benchmark_report_yaml
from gptoss_bench.importers.guidellm import parse_guidellm
from gptoss_bench.importers.imported_result import ImportedResult
from gptoss_bench.importers.inference_perf import parse_inference_perf
from gptoss_bench.importers.llama_bench import parse_llama_bench, parse_llama_bench_csv, parse_llama_bench_tables
from gptoss_bench.importers.mlperf import parse_mlperf_endpoints, parse_mlperf_loadgen
from gptoss_bench.importers.ollama import parse_ollama_objects, parse_ollama_verbose
from gptoss_bench.importers.plain_text import plain_text
from gptoss_bench.importers.printed_block import parse_printed_block
from gptoss_bench.importers.serving_bench import parse_serving_bench, parse_serving_blocks
from gptoss_client import UsageError, parse_json

KNOWN = (
    "a JSON file of vllm bench serve, SGLang's bench_serving, guidellm, aiperf, genai-perf, inference-perf, MLPerf"
    " Endpoints or llama-bench, a Benchmark Report of llm-d, the final objects of Ollama's API, the CSV of aiperf,"
    " genai-perf or llama-bench, or what vllm bench serve, bench_serving, llama-bench, ollama run --verbose, MLPerf"
    " LoadGen or the write-up's script print"
)
# Readers of a whole file that holds many records, then of one object of which a list or each line is a result.
_OF_RECORDS: tuple[Callable[[Sequence[JsonValue], str], list[ImportedResult]], ...] = (
    parse_aiperf_lines,
    parse_llama_bench,
    parse_ollama_objects,
)
_OF_OBJECT: tuple[Callable[[JsonValue, str], list[ImportedResult]], ...] = (
    parse_serving_bench,
    parse_guidellm,
    parse_aiperf,
    parse_inference_perf,
    parse_mlperf_endpoints,
    parse_benchmark_report,
)
_OF_TEXT: tuple[Callable[[str, str], list[ImportedResult]], ...] = (
    parse_serving_blocks,
    parse_printed_block,
    parse_llama_bench_tables,
    parse_llama_bench_csv,
    parse_aiperf_csv,
    parse_mlperf_loadgen,
    parse_ollama_verbose,
    parse_benchmark_report_yaml,
)


def parse_results(text: str, name: str) -> list[ImportedResult]:
    """Return the results in the text of a file; the content shows which tool wrote it.

    Raises UsageError, with the file `name`, if the format is unknown, or a field of it is missing or wrong.
    """
    if found := find_results(text, name):
        return found
    raise UsageError(f"{name} is no result that can be read: give a run folder, {KNOWN}")


def find_results(text: str, name: str) -> list[ImportedResult]:
    """Return the results in any text, such as a file or a pasted output in its prose; empty if there is none.

    Raises UsageError, with the `name` of the text, if a tool's result is there and a field of it is missing or wrong.
    """
    records = _json(text)
    if records is None:
        plain = plain_text(text)
        return [result for read in _OF_TEXT for result in read(plain, name)]
    for read in _OF_RECORDS:
        if found := read(records, name):
            return found
    results: list[ImportedResult] = []
    for at, one in enumerate(records, 1):
        place = name if len(records) == 1 else f"{name}, result {at}"
        results += next((found for read in _OF_OBJECT if (found := read(one, place))), [])
    return results


def _json(text: str) -> list[JsonValue] | None:
    """Return the values of a list, of each line, or the one value of a text; None if it is no JSON."""
    try:
        content = parse_json(text)
        return content if isinstance(content, list) else [content]
    except ValueError:
        pass
    try:
        return [parse_json(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None
