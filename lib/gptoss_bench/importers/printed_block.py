"""Read the block of text that the load script of the write-up prints."""

import re

from gptoss_bench.importers.imported_result import ImportedResult, distribution, imported, reported_load
from gptoss_bench.importers.tool_file import Count, Number, Tool, ToolFile
from gptoss_bench.runs import Manifest

TOOL = Tool("the write-up's load script", "its published form")
_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_ROW = r"^{name} \(s\)\s+p50={n}\s+p90={n}\s+p99={n}"
NOTES = ("TTFT is no measurement: it sends without streaming, so that no arrival of a token can be seen",)


class Block(ToolFile):
    """The numbers of a block; those of the load are None where the line above the block is missing."""

    wall_s: Number
    request_s: Number
    tok_s: Number
    latency_s: dict[str, Number]
    ttft_s: dict[str, Number]
    requests: Count
    concurrency: Count | None = None
    max_tokens: Count | None = None


def parse_printed_block(text: str, file: str) -> list[ImportedResult]:
    """Return the result of a block, with or without the line about the load above it; empty for other text.

    Raises UsageError for a number that is too large.
    """
    rates = [
        re.search(rf"^{name}\s*:\s*{_NUMBER}", text, re.MULTILINE)
        for name in ("Total wall-clock time", "Requests / second", r"Tokens\s+/ second")
    ]
    rows = [re.search(_ROW.format(name=name, n=_NUMBER), text, re.MULTILINE) for name in ("Latency", "TTFT")]
    if not all([*rates, *rows]):
        return []
    wall_s, request_s, tok_s = (float(line[1]) for line in rates if line)
    latency_s, ttft_s = (
        dict(zip(("p50", "p90", "p99"), map(float, line.groups()), strict=True)) for line in rows if line
    )
    load = re.search(r"([0-9]{1,12}) requests\s*\|\s*concurrency=([0-9]{1,12})\s*\|\s*max_tokens=([0-9]{1,12})", text)
    requests, concurrency, max_tokens = map(int, load.groups()) if load else (None, None, None)
    numbers = {"wall_s": wall_s, "request_s": request_s, "tok_s": tok_s, "latency_s": latency_s, "ttft_s": ttft_s}
    numbers |= {"requests": _rounded(request_s * wall_s) if requests is None else requests}
    found = Block.read(numbers | {"concurrency": concurrency, "max_tokens": max_tokens}, file=file, tool=TOOL)
    summary = reported_load(
        completed=found.requests,  # the script ends at the first request that fails, before it prints this
        concurrency=found.concurrency,
        mean_tokens=found.tok_s * found.wall_s / found.requests if found.requests else None,
        wall_s=found.wall_s,
        request_s=found.request_s,
        output_tok_s_total=found.tok_s,
        done_s=distribution(found.requests, found.latency_s),
        ttft_s=distribution(found.requests, found.ttft_s),
    )
    manifest = Manifest(parameters={"max_tokens": found.max_tokens} if load else {})
    return [imported(TOOL, None, summary, manifest=manifest, notes=NOTES)]


def _rounded(value: float) -> int | float:
    return round(value) if value < 1e15 else value
