"""Read what `ollama run --verbose` prints after an answer: durations of one request by the clock of the server."""

import re
from typing import Annotated

from pydantic import Field

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, TokenRate, of_rows
from gptoss_bench.importers.tool_file import ToolFile
from gptoss_bench.runs import EndpointRecord, Manifest

TOOL = "ollama run --verbose"
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|µs|μs|us|ns))+")
NOTES = ("these are the server's own times of one request after another: no arrival at a client is in them",)

Duration = Annotated[float, Field(ge=0, le=1e6)]
Tokens = Annotated[int, Field(ge=0, lt=2**31)]


class Block(ToolFile):
    """The lines of one answer, with the names that Ollama prints; durations in seconds."""

    total_s: Duration = Field(alias="total duration")
    load_s: Duration = Field(alias="load duration")
    prompt_tokens: Tokens | None = Field(None, alias="prompt eval count")
    prompt_s: Duration | None = Field(None, alias="prompt eval duration")
    tokens: Tokens = Field(alias="eval count")
    eval_s: Duration = Field(alias="eval duration")


_NAMES = [str(field.alias) for field in Block.model_fields.values()]
_REQUIRED = {str(field.alias) for field in Block.model_fields.values() if field.is_required()}


def parse_ollama_verbose(text: str, file: str) -> list[ImportedResult]:
    """Return the result of all such blocks of a text, one request each; empty without a block.

    A block that lacks one of the required lines is left out. Raises UsageError for a line without a number.
    """
    texts = re.split(r"(?m)^(?=\s*total duration:)", text)[1:]
    whole = [lines for one in texts if (lines := _lines(one)).keys() >= _REQUIRED]
    blocks = [Block.read(lines, file=file, tool=TOOL) for lines in whole]
    if not blocks:
        return []
    sent_ns, rows = 0, []
    for one in blocks:  # the blocks have no times: place one request after the other
        rows.append(ImportedRow(sent_ns=sent_ns, completion_tokens=one.tokens))
        sent_ns += round(one.total_s * 1e9)
    summary, requests = of_rows(rows, concurrency=1, gaps_known=False)
    requests["server_load_s"] = [one.load_s for one in blocks]
    requests["server_eval_s"] = [one.eval_s for one in blocks]
    requests["server_total_s"] = [one.total_s for one in blocks]
    requests["server_prompt_s"] = [one.prompt_s for one in blocks]
    requests["prompt_tokens"] = [one.prompt_tokens for one in blocks]
    requests["prompt_tokens"] = requests["prompt_tokens"].astype("Int32")
    requests["server_source"] = "ollama"
    summary.decode = [TokenRate(tokens=one.tokens) for one in blocks]
    summary.server_tok_s = [one.tokens / one.eval_s for one in blocks if one.eval_s]
    summary.wall_s = summary.request_s = summary.output_tok_s_total = summary.warmup_requests = None
    manifest = Manifest(endpoint=EndpointRecord(engine="ollama"))
    return [ImportedResult(TOOL, None, summary, requests, manifest, NOTES)]


def _lines(text: str) -> dict[str, float | int | str]:
    """Return the value of each line by name: durations in seconds, counts; a text where it is neither."""
    found = {name: re.search(rf"(?m)^\s*{name}:\s+(\S+)", text) for name in _NAMES}
    return {name: _value(line[1]) for name, line in found.items() if line}


def _value(words: str) -> float | int | str:
    """Return a count, or the seconds of a duration in the format of Go, such as 1m4.14s."""
    if re.fullmatch("[0-9]{1,12}", words):
        return int(words)
    if not _DURATION.fullmatch(words):
        return words
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-zµμ]+)", words))
