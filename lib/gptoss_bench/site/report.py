"""Write the report on one run as Markdown: result block, error bar, findings, verdicts, cost and energy."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from gptoss_bench.claims import RunRecord, Verdict, decide_claims, load_claims
from gptoss_bench.runs import Run, run_caption
from gptoss_bench.stats import error_bar_text, result_block

Document = Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class HourlyPrice:
    """The price of the machine in US dollars per hour, and the day of that price."""

    usd_per_hour: float
    day: str


def usd_per_mtok(price: HourlyPrice, output_tok_s: float | None) -> float | None:
    """Return US dollars per million output tokens at a rate in tokens per second; None without a rate."""
    return price.usd_per_hour / (output_tok_s * 3600) * 1e6 if output_tok_s else None


def report_markdown(run: Run, price: HourlyPrice | None = None) -> str:
    """Return the report on a run that was read from disk, with the verdicts that this run alone decides."""
    file = run.path / "lint.json"
    findings = json.loads(file.read_bytes()) if file.exists() else None
    record = RunRecord(run.run_id, run.scenario, run.manifest, run.summary)
    verdicts = decide_claims(load_claims(), [record]) if run.manifest["status"] == "complete" else []
    decided = [verdict for verdict in verdicts if verdict.run_id == run.run_id]
    return format_report(run.manifest, run.summary, findings, decided, price)


def format_report(
    manifest: Document,
    summary: Document,
    findings: Sequence[Document] | None,
    verdicts: Sequence[Verdict],
    price: HourlyPrice | None = None,
) -> str:
    """Return the report on a run as Markdown.

    `findings` are those of lint.json, None if the run was not linted; `verdicts` are those decided by this run.
    """
    complete = manifest["status"] == "complete"
    head = [f"# Run {manifest['run_id']}", run_caption({**manifest, "run_id": None, "label": None})]
    head += [f"**{manifest['label']}**"] if manifest["label"] else []
    head += [] if complete else [f"**This run is {manifest['status']}: {manifest['reason'] or 'it was interrupted'}.**"]
    parts = [
        *head,
        f"Started {manifest['start_utc']}, ended {manifest['end_utc'] or 'never'}; code {_code(manifest)}.",
        "## Result block",
        f"```text\n{result_block(summary, title_line=_title(manifest))}\n```"
        if "ttft_s" in summary
        else "The summary of this run has no requests, so there is no result block.",
        "## Error bar",
        _error_bar(summary),
        "## Findings of the linter",
        _findings(findings),
        "## Verdicts decided by this run",
        _verdicts(verdicts),
        "## Cost and energy",
        _cost(summary, price, str(manifest["label"] or "")),
    ]
    return "\n\n".join(parts) + "\n"


def _code(manifest: Document) -> str:
    code = manifest["code"]
    return f"{code.get('version')} at {code.get('commit')}" + (" with changes" if code.get("dirty") else "")


def _title(manifest: Document) -> str:
    endpoint = manifest.get("endpoint") or {}
    label = f"{manifest['label']}: " if manifest["label"] else ""
    return f"{label}{endpoint.get('model')} with {endpoint.get('engine')}, run {manifest['run_id']}"


def _error_bar(summary: Document) -> str:
    client = summary.get("client")
    if not client or "error_bar" not in client:
        return "No client was measured in this run."
    bound = f"\n\n**CLIENT-BOUND**: {'; '.join(client['bound'])}." if client.get("bound") else ""
    text = error_bar_text(client["error_bar"])
    return f"{text[0].upper()}{text[1:]}.{bound}"


def _findings(findings: Sequence[Document] | None) -> str:
    if findings is None:
        return "This run was not linted."
    rows = [(f"**{one['severity']}**", one["rule"], one["evidence"], one["advice"]) for one in findings]
    return markdown_table(("severity", "rule", "evidence", "what to do"), rows) if rows else "No rule fired."


def _verdicts(verdicts: Sequence[Verdict]) -> str:
    rows = [
        (one.claim_id.partition("-")[0], one.says, one.published, f"**{one.verdict}**", _evidence(one))
        for one in verdicts
    ]
    names = ("", "claim", "published", "verdict", "why")
    return markdown_table(names, rows) if rows else "No claim is decided by this run alone."


def _evidence(verdict: Verdict) -> str:
    return f"{verdict.label}: {verdict.evidence}" if verdict.label else verdict.evidence


def _cost(summary: Document, price: HourlyPrice | None, label: str) -> str:
    power, energy = summary.get("power_w"), summary.get("energy_j_per_tok")
    rows = [
        ("mean GPU power, all GPUs", "unknown: no GPU reported it" if power is None else f"{power:.1f} W"),
        ("energy per output token", "unknown: no GPU counted it" if energy is None else f"{energy:.3f} J"),
    ]
    if price is None:
        rows.append(("cost per million output tokens", "unknown: no price was given (PRICE=…, in USD per hour)"))
    else:
        usd = usd_per_mtok(price, summary.get("output_tok_s_total"))
        basis = f"at {price.usd_per_hour:g} USD per hour on {price.day}, over the whole run"
        found = "unknown: no token rate" if usd is None else f"{usd:.3g} USD {basis}"
        rows.append(("cost per million output tokens", f"{label}: {found}" if label and usd is not None else found))
    return markdown_table(("", ""), rows)


def markdown_table(names: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    """Return a Markdown table; a vertical bar in a cell is escaped, a line break becomes a space."""
    lines = [names, ["---"] * len(names), *rows]
    cells = ([" ".join(str(cell).split()).replace("|", "\\|") for cell in line] for line in lines)
    return "\n".join(f"| {' | '.join(line)} |" for line in cells)
