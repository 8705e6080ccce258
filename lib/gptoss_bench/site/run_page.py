"""One page on one run, in Markdown: the block, the error bar, the lint, the verdicts, cost and energy. Pure."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_bench.claims import Verdict
from gptoss_bench.runs import caption
from gptoss_bench.stats import error_bar_text, result_block

Words = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Price:
    """What the machine costs, in US dollars an hour, and the day on which that was so."""

    usd_per_hour: float
    day: str


def usd_per_mtok(price: Price, output_tok_s: float | None) -> float | None:
    """US dollars a million output tokens at that rate (tokens a second); None where there is no rate."""
    return price.usd_per_hour / (output_tok_s * 3600) * 1e6 if output_tok_s else None


def run_page_markdown(
    manifest: Words,
    summary: Words,
    findings: Sequence[Words] | None,
    verdicts: Sequence[Verdict],
    price: Price | None = None,
) -> str:
    """The page. `findings` are those of lint.json, None where the run was not linted; `verdicts` rest on this run."""
    whole = manifest["status"] == "complete"
    head = [f"# Run {manifest['run_id']}", caption({**manifest, "run_id": None, "label": None})]
    head += [f"**{manifest['label']}**"] if manifest["label"] else []
    head += [] if whole else [f"**This run is {manifest['status']}: {manifest['reason'] or 'it was interrupted'}.**"]
    measured = "ttft_s" in summary
    parts = [
        *head,
        f"Begun {manifest['start_utc']}, ended {manifest['end_utc'] or 'never'}; code {_code(manifest)}.",
        "## The block",
        f"```text\n{result_block(summary, title_line=_title(manifest))}\n```"
        if measured
        else "This run keeps no load of requests in its summary, so there is no block.",
        "## The error bar",
        _error_bar(summary),
        "## What makes it untrustworthy",
        _findings(findings),
        "## Verdicts that rest on it",
        _verdicts(verdicts),
        "## Cost and energy",
        _cost(summary, price, str(manifest["label"] or "")),
    ]
    return "\n\n".join(parts) + "\n"


def _code(manifest: Words) -> str:
    code = manifest["code"]
    return f"{code.get('version')} at {code.get('commit')}" + (" with changes" if code.get("dirty") else "")


def _title(manifest: Words) -> str:
    endpoint = manifest.get("endpoint") or {}
    label = f"{manifest['label']}: " if manifest["label"] else ""
    return f"{label}{endpoint.get('model')} with {endpoint.get('engine')}, run {manifest['run_id']}"


def _error_bar(summary: Words) -> str:
    client = summary.get("client")
    if not client or "error_bar" not in client:
        return "No client was measured in this run."
    bound = f"\n\n**CLIENT-BOUND**: {'; '.join(client['bound'])}." if client.get("bound") else ""
    words = error_bar_text(client["error_bar"])
    return f"{words[0].upper()}{words[1:]}.{bound}"


def _findings(findings: Sequence[Words] | None) -> str:
    if findings is None:
        return "This run was not linted."
    rows = [(f"**{one['severity']}**", one["rule"], one["evidence"], one["advice"]) for one in findings]
    return run_page_table(("severity", "rule", "evidence", "what to do"), rows) if rows else "No rule fired."


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (one.claim_id.partition("-")[0], one.says, one.published, f"**{one.verdict}**", _evidence(one))
        for one in verdicts
    ]
    names = ("", "claim", "published", "verdict", "why")
    return run_page_table(names, rows) if rows else "No claim is decided by this run alone."


def _evidence(verdict: Verdict) -> str:
    return f"{verdict.label}: {verdict.evidence}" if verdict.label else verdict.evidence


def _cost(summary: Words, price: Price | None, label: str) -> str:
    power, energy = summary.get("power_w"), summary.get("energy_j_per_tok")
    rows = [
        ("GPU power, all GPUs, on average", "unknown: no GPU told it" if power is None else f"{power:.1f} W"),
        ("energy an output token", "unknown: no GPU counted it" if energy is None else f"{energy:.3f} J"),
    ]
    if price is None:
        rows.append(("a million output tokens", "unknown: no price was given (PRICE=…, in USD an hour)"))
    else:
        usd = usd_per_mtok(price, summary.get("output_tok_s_total"))
        asked = f"at {price.usd_per_hour:g} USD an hour on {price.day}, over the whole run"
        found = "unknown: no rate of tokens" if usd is None else f"{usd:.3g} USD {asked}"
        rows.append(("a million output tokens", f"{label}: {found}" if label and usd is not None else found))
    return run_page_table(("", ""), rows)


def run_page_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """A Markdown table; a bar inside a cell is escaped, a line break becomes a space."""
    lines = [names, ["---"] * len(names), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
