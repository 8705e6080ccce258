"""Read what `ollama run --verbose` prints after an answer: durations of one request by the clock of the server."""

import re

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, TokenRate, of_rows
from gptoss_bench.runs import EndpointRecord, Manifest

_NAMES = ("total duration", "load duration", "prompt eval count", "prompt eval duration", "eval count", "eval duration")
_UNITS = {"h": 3600.0, "m": 60.0, "s": 1.0, "ms": 1e-3, "µs": 1e-6, "μs": 1e-6, "us": 1e-6, "ns": 1e-9}
NOTES = ("these are the server's own times of one request after another: no arrival at a client is in them",)


def parse_ollama_verbose(text: str) -> ImportedResult | None:
    """Return the result of all such blocks of a text, one request each; None without a block."""
    blocks = re.split(r"(?m)^(?=\s*total duration:)", text)[1:]
    reported = [found for block in blocks if (found := _block(block))]
    if not reported:
        return None
    sent_ns, rows = 0, []
    for one in reported:  # the blocks have no times: place one request after the other
        rows.append(ImportedRow(sent_ns=sent_ns, completion_tokens=round(one["eval count"])))
        sent_ns += round(one["total duration"] * 1e9)
    summary, requests = of_rows(rows, concurrency=1, gaps_known=False)
    for name, its in (("load", "load duration"), ("eval", "eval duration"), ("total", "total duration")):
        requests[f"server_{name}_s"] = [one[its] for one in reported]
    requests["server_prompt_s"] = [one.get("prompt eval duration") for one in reported]
    requests["prompt_tokens"] = [None if (n := one.get("prompt eval count")) is None else round(n) for one in reported]
    requests["prompt_tokens"] = requests["prompt_tokens"].astype("Int32")
    requests["server_source"] = "ollama"
    rates = [one["eval count"] / one["eval duration"] for one in reported if one["eval duration"]]
    summary.decode = [TokenRate(tokens=round(one["eval count"])) for one in reported]
    summary.server_tok_s = rates
    summary.wall_s = summary.request_s = summary.output_tok_s_total = summary.warmup_requests = None
    manifest = Manifest(endpoint=EndpointRecord(engine="ollama"))
    return ImportedResult("ollama run --verbose", None, summary, requests, manifest, NOTES)


def _block(text: str) -> dict[str, float]:
    """Return numbers by name, durations in seconds; empty if a required name is missing."""
    found = {}
    for name in _NAMES:
        line = re.search(rf"(?m)^\s*{name}:\s+(\S+)", text)
        if line:
            found[name] = _seconds(line[1]) if name.endswith("duration") else float(line[1])
    return found if {"total duration", "load duration", "eval count", "eval duration"} <= set(found) else {}


def _seconds(words: str) -> float:
    """Return the seconds of a duration in the format of Go, such as 1m4.14s."""
    parts = re.findall(r"([0-9.]+)(h|ms|m|s|µs|μs|us|ns)", words)
    return sum(float(number) * _UNITS[unit] for number, unit in parts)
