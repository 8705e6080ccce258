"""Write the pages of the site that are not notebooks: front page with verdicts, method, appendix. HTML out."""

import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from string import Template
from typing import Any

from gptoss_bench import paths
from gptoss_bench.claims import Claim, Verdict, verdict_counts, verdict_page
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run, run_caption
from gptoss_bench.site.page import badge_html
from gptoss_bench.stats import (
    CLIENT_BOUND_CPU_SHARE,
    CLIENT_BOUND_LAG_SHARE,
    CLIENT_BOUND_SHARED_READ_SHARE,
    MIN_SAMPLES_BEYOND,
)

FRONT, METHOD, APPENDIX = "index.html", "method.html", "appendix.html"


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run and its page; `pictures` as extract_pictures returns them, `downloads` relative to the site."""

    run: Run
    name: str
    title: str
    pictures: Sequence[Mapping[str, Any]] = ()
    downloads: Sequence[Path] = ()


def front_page_html(verdicts: Sequence[Verdict], claims: Iterable[Claim], pages: Sequence[RunPage]) -> str:
    """Return the front page: counts, runs, and every claim with its verdict and a link to its evidence."""
    counts = "".join(
        f"<li>{badge_html(f'{count} {word}', word)} {_numbers(verdicts, word)}</li>"
        for word, count in verdict_counts(verdicts).items()
        if count
    )
    labels = sorted({page.run.manifest["label"] for page in pages if page.run.manifest["label"]})
    warning = ""
    if labels:
        warning = (
            f"<p>{' '.join(badge_html(label, 'label') for label in labels)} Runs with such a label do not show the "
            "speed of the published hardware and decide no published figure.</p>"
        )
    cards = "".join(_card(page) for page in pages)
    return f"""<h1>gpt-oss, measured again</h1>
<p>In August 2025 the write-up <em>OpenAI OSS Model on Azure</em> published how fast gpt-oss-20b runs with Ollama on an
A10 and with vLLM on an H100, and that transformers in BF16 does not fit an A10. These pages repeat the measurements
and give a verdict on each of its {len(verdicts)} claims. The <a href="{METHOD}">method</a> explains how a verdict is
reached; the <a href="{APPENDIX}">appendix</a> has the manifests and tables.</p>
<ul class="counts">{counts}</ul>
{warning}
<h2 id="runs">The runs</h2>
<ul class="cards">{cards}</ul>
<h2 id="verdicts">The verdicts</h2>
{_verdict_table(verdicts, claims, {page.run.run_id: page for page in pages})}"""


def _numbers(verdicts: Iterable[Verdict], word: str) -> str:
    """Return the numbers of the claims with that verdict, each a link to its row."""
    numbers = [verdict.claim_id.partition("-")[0] for verdict in verdicts if verdict.verdict == word]
    return " ".join(f'<a href="#{number}">{number}</a>' for number in numbers)


def _card(page: RunPage) -> str:
    picture = ""
    if page.pictures:
        first = page.pictures[0]
        size = " ".join(f'{name}="{first[name]}"' for name in ("width", "height") if name in first)
        picture = f'<a href="{page.name}"><img src="{first["file"]}" {size} alt="{escape(first["alt"])}"></a>'
    return (
        f'<li class="card">{picture}<p><a href="{page.name}"><strong>{escape(page.title)}</strong></a></p>'
        f"<p><small>{escape(run_caption(page.run.manifest))}</small></p></li>"
    )


def _verdict_table(verdicts: Sequence[Verdict], claims: Iterable[Claim], pages: Mapping[str, RunPage]) -> str:
    by_id = {claim.claim_id: claim for claim in claims}
    own = next((page for page in pages.values() if page.run.scenario == "verdicts"), None)
    rows = []
    for verdict, (number, row) in zip(verdicts, verdict_page(verdicts).iterrows(), strict=True):
        needs = f"<br><small>needs {escape(verdict.needs)}</small>" if verdict.needs else ""
        cells = {
            "published": escape(row["published"]),
            "found": escape(row["found"]),
            "": f"{badge_html(verdict.verdict, verdict.verdict)}{needs}",
            "evidence": escape(row["evidence"]) + _source(verdict, pages, own) + _test(by_id.get(verdict.claim_id)),
        }
        body = "".join(
            f'<td data-label="{name}">{cell}</td>' if name and cell else f"<td>{cell}</td>"
            for name, cell in cells.items()
        )
        # The number of a row links to the row, so that a reader can copy the address.
        head = f'<th scope="row"><a href="#{number}">{number}</a></th><td>{escape(row["claim"])}</td>'
        rows.append(f'<tr id="{number}">{head}{body}</tr>')
    names = ("", "claim", "published", "found", "verdict", "evidence")
    heads = "".join(f'<th scope="col">{name}</th>' for name in names)
    return f'<table class="verdicts"><thead><tr>{heads}</tr></thead><tbody>{"".join(rows)}</tbody></table>'


def _source(verdict: Verdict, pages: Mapping[str, RunPage], own: RunPage | None) -> str:
    """Return a link from a verdict to the page of its evidence: its run, or the notebook of the verdicts."""
    page = pages.get(verdict.run_id or "") or own
    if page is None or verdict.needs or verdict.kind == "opinion":
        return ""
    text = "the run" if verdict.run_id == page.run.run_id else "computed in the notebook of the verdicts"
    return f'<br><a href="{page.name}">{text}</a>'


def _test(claim: Claim | None) -> str:
    if claim is None:
        return ""
    condition = f"<small>Condition: {escape(claim.condition)}</small>" if claim.condition else ""
    how = f"<small>Test: {escape(claim.tested_by)}</small>"
    return (
        f"<details><summary>How it is tested</summary>{how}{condition}"
        f"<small>In the write-up: {escape(claim.section)}</small></details>"
    )


def run_header_html(run: Run) -> str:
    """Return the lines below the title of a run's page: label, status, caption and links."""
    manifest = run.manifest
    status = (
        "" if manifest["status"] == "complete" else badge_html(f"{manifest['status']}: {manifest['reason']}", "problem")
    )
    label = badge_html(manifest["label"], "label") if manifest["label"] else ""
    return (
        f"<p>{label} {status} <small>{escape(run_caption(manifest | {'label': None}))}</small></p>"
        f'<p><a href="#claims">Claims decided by it</a> · '
        f'<a href="{APPENDIX}#{run.run_id}">manifest and tables</a></p>'
    )


def run_claims_html(run: Run, verdicts: Iterable[Verdict]) -> str:
    """Return the claims whose evidence is this run, each with its verdict and a link to the front page."""
    heading = "Claims computed here" if run.scenario == "verdicts" else "Claims decided by this run"
    decided = []
    for v in verdicts:
        computed = run.scenario == "verdicts" and not (v.run_id or v.needs or v.kind == "opinion")
        if computed or v.run_id == run.run_id or run.run_id in v.evidence:
            decided.append(v)
    items = "".join(
        f'<li><a href="{FRONT}#{number}">{number}</a> {escape(v.says)} {badge_html(v.verdict, v.verdict)}</li>'
        for v in decided
        for number in [v.claim_id.partition("-")[0]]
    )
    return f'<h2 id="claims">{heading}</h2>' + (f"<ul>{items}</ul>" if items else "<p>None.</p>")


def method_markdown(calibration: str) -> str:
    """Return the method as Markdown with the limits of the code; `calibration` is the page of the calibration."""
    limits = {
        "beyond": MIN_SAMPLES_BEYOND,
        "lag_share": f"{CLIENT_BOUND_LAG_SHARE:.0%}",
        "cpu_share": f"{CLIENT_BOUND_CPU_SHARE:.0%}",
        "shared_read_share": f"{CLIENT_BOUND_SHARED_READ_SHARE:.0%}",
        "calibration": calibration,
        "rules": _rules(),
    }
    return Template((paths.SITE_TEMPLATE / "method.md").read_text(encoding="utf-8")).substitute(limits)


def _rules() -> str:
    """Return the rules of the linter as a table, one row with an id per rule."""
    rows = "".join(
        f'<tr id="{rule.id}"><th scope="row">{rule.id}</th><td>{escape(rule.reason)}</td></tr>' for rule in RULES
    )
    return f'<table><thead><tr><th scope="col">finding</th><th scope="col">why</th></tr></thead>{rows}</table>'


def appendix_html(pages: Iterable[RunPage], sizes: Mapping[Path, int], largest: int) -> str:
    """Return the appendix: manifest and downloads of each run. `sizes` and the limit `largest` are in bytes."""
    parts = ["<h1>Appendix: manifests and tables</h1>"]
    parts.append(
        "<p>Timestamps (<code>*_ns</code>) are nanoseconds on the monotonic clock of one machine; durations "
        "(<code>*_s</code>) are seconds. An unknown value is empty, never 0. The raw bytes of the responses, and "
        f"tables of more than {largest / 1e6:g} MB, are in the run folders.</p>"
    )
    for page in pages:
        manifest = page.run.manifest
        files = "".join(
            f'<li><a href="{file}" download>{file.name}</a> <small>{sizes[file] / 1e3:,.1f} kB</small></li>'
            for file in page.downloads
        )
        document = escape(json.dumps(manifest, indent=1, ensure_ascii=False))
        origin = f"{run_caption(manifest | {'run_id': None})} · code {manifest['code'].get('commit')}"
        parts.append(
            f'<h2 id="{page.run.run_id}">{escape(page.title)}</h2>'
            f'<p><a href="{page.name}">{page.run.run_id}</a> · <small>{escape(origin)}</small></p>'
            f"<ul>{files}</ul><details><summary>Manifest</summary><pre tabindex='0'>{document}</pre></details>"
        )
    return "\n".join(parts)
