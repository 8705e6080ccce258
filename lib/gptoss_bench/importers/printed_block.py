"""Read the block of text that the load script of the write-up prints."""

import re

from gptoss_bench.importers.imported_result import ImportedResult, distribution, reported_only
from gptoss_bench.runs import Manifest, derive_tables

_NUMBER = r"([0-9]+(?:\.[0-9]+)?)"
_ROW = r"^{name} \(s\)\s+p50={n}\s+p90={n}\s+p99={n}"


def parse_printed_block(text: str) -> ImportedResult | None:
    """Return the result of a block, with or without the line about the load above it; None for other text."""
    rates = [
        re.search(rf"^{name}\s*:\s*{_NUMBER}", text, re.MULTILINE)
        for name in ("Total wall-clock time", "Requests / second", r"Tokens\s+/ second")
    ]
    rows = [re.search(_ROW.format(name=name, n=_NUMBER), text, re.MULTILINE) for name in ("Latency", "TTFT")]
    if not all([*rates, *rows]):
        return None
    wall_s, request_s, tok_s = (float(found[1]) for found in rates if found)
    latency, ttft = (
        dict(zip(("p50", "p90", "p99"), map(float, found.groups()), strict=True)) for found in rows if found
    )
    load = re.search(r"(\d+) requests\s*\|\s*concurrency=(\d+)\s*\|\s*max_tokens=(\d+)", text)
    requests = int(load[1]) if load else round(request_s * wall_s)
    mean_tokens = tok_s * wall_s / requests if requests else None
    summary = reported_only(
        int(load[2]) if load else None,
        requests=requests,
        completed=requests,  # the script ends at the first request that fails, before it prints this
        wall_s=wall_s,
        request_s=request_s,
        output_tok_s_total=tok_s,
        completion_tokens={"sum": None, "mean": mean_tokens, "min": None, "max": None},
        done_s=distribution(requests, latency),
        ttft_s=distribution(requests, ttft),
    )
    manifest = Manifest(parameters={"max_tokens": int(load[3])} if load else {})
    notes = ("TTFT is no measurement: it sends without streaming, so that no arrival of a token can be seen",)
    return ImportedResult("the write-up's load script", None, summary, derive_tables([])[0], manifest, notes)
