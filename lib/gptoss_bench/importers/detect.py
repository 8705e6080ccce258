"""Find out which tool wrote a result file, and read it."""

from pydantic import JsonValue

from gptoss_bench.importers.aiperf import parse_aiperf, parse_aiperf_lines
from gptoss_bench.importers.guidellm import parse_guidellm
from gptoss_bench.importers.imported_result import ImportedResult
from gptoss_bench.importers.llama_bench import parse_llama_bench
from gptoss_bench.importers.ollama_verbose import parse_ollama_verbose
from gptoss_bench.importers.printed_block import parse_printed_block
from gptoss_bench.importers.vllm_bench import parse_vllm_bench
from gptoss_client import UsageError, parse_json

KNOWN = (
    "the write-up's printed block, vllm bench serve --save-result, guidellm JSON, aiperf JSON and JSONL, "
    "llama-bench JSON and JSONL, and the text of ollama run --verbose"
)


def parse_results(text: str, name: str) -> list[ImportedResult]:
    """Return the results in the text of a file; the content shows which tool wrote it.

    Raises UsageError, with the file `name`, if the format is unknown, or a field of it is missing or wrong.
    """
    content, lines = _json(text)
    found = [
        *parse_vllm_bench(content, name),
        *parse_guidellm(content, name),
        *parse_aiperf(content, name),
        *parse_aiperf_lines(lines, name),
        *parse_llama_bench(lines or content, name),
        *parse_printed_block(text, name),
        *parse_ollama_verbose(text, name),
    ]
    if not found:
        raise UsageError(f"{name} is no result that can be read: give a run folder, or {KNOWN}")
    return found


def _json(text: str) -> tuple[JsonValue, list[JsonValue]]:
    """Return the text as one JSON value, or each line as JSON; (None, []) if it is neither."""
    try:
        return parse_json(text), []
    except ValueError:
        pass
    try:
        return None, [parse_json(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None, []
