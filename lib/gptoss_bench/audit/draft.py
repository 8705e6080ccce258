"""Draft a claims file from an audit: one claim for each figure that was found, with its line."""

import datetime
from collections.abc import Iterator

import yaml
from pydantic import JsonValue

from gptoss_bench.audit.judge import Audit, AuditedResult
from gptoss_bench.audit.published_text import FoundFigure

FILL_IN = "fill in"
HEAD = """# A draft of a claims file with the figures that `gptoss-bench audit` found. No sentence of the text is in it.
# Fill in the source (title, address, author, date, commit), the hardware, the engine and the model, and add what the
# text states in words. `gptoss-bench audit THIS-FILE` prints a verdict on each claim.
"""
WORDS = {"ttft_s": "TTFT", "tpot_s": "TPOT", "itl_s": "ITL", "done_s": "Latency"}
RATES = {
    "wall_s": ("Wall time of the load", "s"),
    "request_s": ("Completed requests a second", "1/s"),
    "output_tok_s_total": ("Output tokens a second", "tokens/s"),
    "total_tok_s": ("Prompt and output tokens a second", "tokens/s"),
    "requests": ("Requests sent", "requests"),
    "completed": ("Requests completed", "requests"),
    "completion_tokens.sum": ("Output tokens of all requests", "tokens"),
    "max_tokens": ("Output tokens of a request, at most", "tokens"),
}
IDS = {"wall_s": "wall", "request_s": "request-rate", "output_tok_s_total": "token-rate", "total_tok_s": "total-rate"}
# The check that a figure takes part in, and the figures that it needs.
RATE_CHECK = {"requests": "completed", "wall": "wall_s", "printed": "request_s"}
MEASURED = {"done_s", "ttft_s", "tpot_s", "itl_s", "output_tok_s_total", "wall_s", "request_s"}


def draft_claims(audit: Audit) -> str:
    """Return the text of a claims file with every figure that has a line, at most 99 of them."""
    entries: list[JsonValue] = []
    for result in audit.results:
        entries += _claims(result, first=len(entries) + 1)
    today = datetime.date.today()
    source: dict[str, JsonValue | datetime.date] = {
        "title": audit.name,
        "url": "https://example.org/fill-in",
        "author": FILL_IN,
        "written": today,
        "commit": "0" * 40,
        "read": today,
    }
    content = {"schema": 2, "source": source, "claims": entries[:99]}
    return HEAD + yaml.safe_dump(content, sort_keys=False, allow_unicode=True, width=100)


def _claims(result: AuditedResult, first: int) -> Iterator[JsonValue]:
    shown = [one for one in result.figures if one.name.partition(".")[0] in WORDS or one.name in RATES]
    ids = {one.name: f"C{first + at:02}-{_slug(one.name)}" for at, one in enumerate(shown)}
    for one in shown:
        yield _claim(one, ids, result.name)


def _claim(one: FoundFigure, ids: dict[str, str], title: str) -> JsonValue:
    quantity, _, statistic = one.name.partition(".")
    says, unit = RATES.get(one.name, (f"{WORDS.get(quantity, '')} {statistic}".strip(), "s"))
    published: dict[str, JsonValue] = {"value": float(f"{one.figure.value:.10g}"), "unit": unit}
    if one.figure.step:
        published["step"] = float(f"{one.figure.step:.3g}")
    claim: dict[str, JsonValue] = {
        "id": ids[one.name],
        "kind": "performance" if quantity in MEASURED else "figure",
        "section": title,
        "lines": str(one.line),
        "says": f"{says}.",
        "published": published,
        "needs": "none",
    }
    inputs = {argument: ids[name] for argument, name in RATE_CHECK.items() if name in ids}
    if one.name == "request_s" and len(inputs) == len(RATE_CHECK):
        arguments: dict[str, JsonValue] = {"check": "rate", "inputs": dict(inputs)}
        return claim | {"tested_by": "requests over wall time", "decider": "arithmetic", "with": arguments}
    because = "its conditions have to be filled in, and the decider measured takes them"
    return claim | {"tested_by": "nothing yet", "decider": "not_measured", "with": {"because": because}}


def _slug(name: str) -> str:
    return IDS.get(name, name.replace("_s", "").replace("done", "latency").replace(".", "-").replace("_", "-"))
