"""Draft a claims file from an audit: one claim for each figure that was found, with its line."""

import datetime
from collections.abc import Iterator, Mapping

import yaml
from pydantic import JsonValue

from gptoss_bench.audit.judge import Audit, AuditedResult
from gptoss_bench.audit.published_text import FoundFigure

FILL_IN = "fill in"
HEAD = """# A draft of a claims file with the figures that `gptoss-bench audit` found. No sentence of the text is in it.
# Fill in the source (title, address, author, date, commit), add what the text states in words, and the conditions that
# a claim with the decider not_measured says are missing; then its decider is measured, as in the others. A tolerance of
# 10 % is an assumption: change it to what the text supports. `make run CLAIMS=THIS-FILE` measures and decides;
# `gptoss-bench audit THIS-FILE` prints the verdicts by the runs that are there.
"""
TOLERANCE = 0.10
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
PARAMETERS = {"concurrency_planned": "concurrency", "max_tokens": "max_tokens", "requests": "requests"}
# The check that a figure takes part in, and the figures that it needs.
RATE_CHECK = {"requests": "completed", "wall": "wall_s", "printed": "request_s"}
STATISTICS = ("mean", "p50", "p90", "p99")
LOWER, HIGHER = ("ttft_s", "tpot_s", "itl_s", "done_s", "wall_s"), ("output_tok_s_total", "request_s")


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
    shown = {one.name: one for one in result.figures if one.name.partition(".")[0] in WORDS or one.name in RATES}
    ids = {name: f"C{first + at:02}-{_slug(name)}" for at, name in enumerate(shown)}
    for name, one in shown.items():
        yield _claim(one, ids[name], result) | _decider(name, ids, result)


def _claim(one: FoundFigure, claim_id: str, result: AuditedResult) -> dict[str, JsonValue]:
    quantity, _, statistic = one.name.partition(".")
    says, unit = RATES.get(one.name, (f"{WORDS.get(quantity, '')} {statistic}".strip(), "s"))
    published: dict[str, JsonValue] = {"value": float(f"{one.figure.value:.10g}"), "unit": unit}
    if one.figure.step:
        published["step"] = float(f"{one.figure.step:.3g}")
    if result.version and quantity in (*LOWER, *HIGHER):
        published["version"] = result.version
    return {
        "id": claim_id,
        "kind": "performance" if quantity in (*LOWER, *HIGHER) else "figure",
        "section": result.name,
        "lines": str(one.line),
        "says": f"{says}.",
        "published": published,
    }


def _decider(name: str, ids: Mapping[str, str], result: AuditedResult) -> dict[str, JsonValue]:
    """Return how a figure is decided: by arithmetic, by runs under the stated conditions, or by nothing yet."""
    inputs: dict[str, JsonValue] = {argument: ids[one] for argument, one in RATE_CHECK.items() if one in ids}
    if name == "request_s" and len(inputs) == len(RATE_CHECK):
        arguments: dict[str, JsonValue] = {"check": "rate", "inputs": inputs}
        return {"needs": "none", "tested_by": "requests over wall time", "decider": "arithmetic", "with": arguments}
    quantity, _, statistic = name.partition(".")
    if quantity not in (*LOWER, *HIGHER):
        return _undecided("it is a condition of the other figures")
    if quantity in WORDS and statistic not in STATISTICS:
        return _undecided(f"no run reports this statistic{'' if statistic else ': the text does not say which it is'}")
    load = {
        parameter: int(one.figure.value)
        for one in result.figures
        if (parameter := PARAMETERS.get(one.name)) and (parameter != "requests" or name == "wall_s")
    }
    conditions = {"gpu": result.gpu, "engine": result.engine, "model": result.model}
    needed = ["concurrency", "max_tokens", *(["requests"] if name == "wall_s" else [])]
    missing = [*(what for what, value in conditions.items() if not value), *(one for one in needed if one not in load)]
    if missing:
        return _undecided(f"the text does not state {', '.join(missing)}")
    better = "lower" if quantity in LOWER else "higher"
    return {
        "tolerance": {"relative": TOLERANCE},
        "needs": "hardware",
        "tested_by": "runs under the stated conditions",
        "decider": "measured",
        "with": {"path": name, **conditions, "parameters": {**load}, "better": better},
    }


def _undecided(because: str) -> dict[str, JsonValue]:
    return {
        "needs": "none",
        "tested_by": "nothing yet",
        "decider": "not_measured",
        "with": {"because": because},
    }


def _slug(name: str) -> str:
    return IDS.get(name, name.replace("_s", "").replace("done", "latency").replace(".", "-").replace("_", "-"))
