"""Read the durations of requests that Ollama reports: the text of `ollama run --verbose`, or the API's final objects.

They are by the clock of the server.
"""

import re
from collections.abc import Sequence
from statistics import median
from typing import Annotated

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, TokenRate, imported, of_rows
from gptoss_bench.importers.tool_file import Tool, ToolFile
from gptoss_bench.runs import EndpointRecord, Manifest
from gptoss_bench.stats import interval_over_runs
from gptoss_client import NS_PER_S, ServerTimings

VERBOSE = Tool("ollama run --verbose", "0.1 to 0.33")
API = Tool("Ollama API", "0.1 to 0.33")
FEWEST_TOKENS = 2  # of a rate: the first token is not in the time of decoding
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ns": 1e-9}
_DURATION = re.compile(r"(?:[0-9]+(?:\.[0-9]+)?(?:h|ms|m|s|µs|μs|us|ns))+")
_DONE = frozenset({"done", "total_duration", "eval_duration"})
NOTES = ("these are the server's own times of one request after another: no arrival at a client is in them",)

Duration = Annotated[float, Field(ge=0, le=1e6)]
Tokens = Annotated[int, Field(ge=0, lt=2**31)]
Nanoseconds = Annotated[int, Field(ge=0, le=10**15)]


class Block(ToolFile):
    """The lines of one answer, with the names that Ollama prints; durations in seconds."""

    total_s: Duration = Field(alias="total duration")
    load_s: Duration | None = Field(None, alias="load duration")
    prompt_tokens: Tokens | None = Field(None, alias="prompt eval count")
    prompt_s: Duration | None = Field(None, alias="prompt eval duration")
    tokens: Tokens = Field(alias="eval count")
    eval_s: Duration = Field(alias="eval duration")


class FinalObject(ToolFile):
    """The last object of a response of /api/chat or /api/generate; durations in ns."""

    model: str | None = None
    total_duration: Nanoseconds
    load_duration: Nanoseconds | None = None
    prompt_eval_count: Tokens | None = None
    prompt_eval_duration: Nanoseconds | None = None
    eval_count: Tokens
    eval_duration: Nanoseconds

    @property
    def block(self) -> Block:
        """Return the same numbers as `ollama run --verbose` prints them."""
        names = {name: str(field.alias) for name, field in Block.model_fields.items()}
        times = {
            "total_s": self.total_duration,
            "load_s": self.load_duration,
            "prompt_s": self.prompt_eval_duration,
            "eval_s": self.eval_duration,
        }
        content = {names[name]: None if ns is None else ns / NS_PER_S for name, ns in times.items()}
        counts = {"prompt eval count": self.prompt_eval_count, "eval count": self.eval_count}
        return Block.model_validate({**content, **counts})


_NAMES = [str(field.alias) for field in Block.model_fields.values()]
_REQUIRED = {str(field.alias) for field in Block.model_fields.values() if field.is_required()}


def parse_ollama_verbose(text: str, file: str) -> list[ImportedResult]:
    """Return the result of all such blocks of a text, one request each; empty without a block.

    A block that lacks one of the required lines is left out. Raises UsageError for a line without a number.
    """
    texts = re.split(r"(?m)^(?=[ \t]*total duration:)", text)[1:]
    whole = [lines for one in texts if (lines := _lines(one)).keys() >= _REQUIRED]
    return _result([Block.read(lines, file=file, tool=VERBOSE) for lines in whole], VERBOSE, None)


def parse_ollama_objects(content: JsonValue | Sequence[JsonValue], file: str) -> list[ImportedResult]:
    """Return the result of the final objects among parsed ones, a request each, by model; empty without one.

    Raises UsageError for a wrong field.
    """
    objects = content if isinstance(content, list) else [content]
    final = [one for one in objects if isinstance(one, dict) and one.keys() >= _DONE]
    found = [FinalObject.read(one, file=file, tool=API) for one in final]
    models = dict.fromkeys(one.model for one in found)
    return [
        result for model in models for result in _result([one.block for one in found if one.model == model], API, model)
    ]


def _result(blocks: Sequence[Block], tool: Tool, model: str | None) -> list[ImportedResult]:
    if not blocks:
        return []
    sent_ns, rows = 0, []
    for one in blocks:  # the blocks have no times: place one request after the other
        rows.append(
            ImportedRow(sent_ns, prompt_tokens=one.prompt_tokens, completion_tokens=one.tokens, server=_timings(one))
        )
        sent_ns += round(one.total_s * NS_PER_S)
    summary, requests = of_rows(rows, concurrency=1, gaps_known=False)
    summary.server_tok_s = [one.tokens / one.eval_s for one in blocks if one.eval_s and one.tokens >= FEWEST_TOKENS]
    summary.decode = _rate(summary.server_tok_s)
    summary.prefill = _rate([one.prompt_tokens / one.prompt_s for one in blocks if one.prompt_s and one.prompt_tokens])
    summary.wall_s = summary.request_s = summary.output_tok_s_total = summary.warmup_requests = None
    manifest = Manifest(endpoint=EndpointRecord(engine="ollama", model=model))
    return [imported(tool, None, summary, requests=requests, manifest=manifest, notes=NOTES)]


def _timings(one: Block) -> ServerTimings:
    return ServerTimings(
        source="ollama",
        load_s=one.load_s,
        prompt_s=one.prompt_s,
        prompt_tokens=one.prompt_tokens,
        eval_s=one.eval_s,
        eval_tokens=one.tokens,
        total_s=one.total_s,
    )


def _rate(values: Sequence[float]) -> list[TokenRate]:
    """Return the median of the requests' rates, with the interval of their mean if there are enough."""
    if not values:
        return []
    return [TokenRate(n=len(values), tok_s=median(values), interval=interval_over_runs(values).ends)]


def _lines(text: str) -> dict[str, float | int | str]:
    """Return the value of each line by name: durations in seconds, counts; a text where it is neither."""
    found = {name: re.search(rf"(?m)^[ \t]*{name}:[ \t]+(\S+)", text) for name in _NAMES}
    return {name: _value(line[1]) for name, line in found.items() if line}


def _value(words: str) -> float | int | str:
    """Return a count, or the seconds of a duration in the format of Go, such as 1m4.14s."""
    if re.fullmatch("[0-9]{1,12}", words):
        return int(words)
    if not _DURATION.fullmatch(words):
        return words
    return sum(float(number) * _UNITS[unit] for number, unit in re.findall(r"([0-9.]+)([a-zµμ]+)", words))
