"""Prepare what the templates show: one typed record per page, from runs, verdicts and claims."""

import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import date

from markupsafe import Markup

from gptoss_bench.claims import (
    NO_BASIS,
    WORDS_BY_BASIS,
    Claim,
    Source,
    Verdict,
    WithdrawnRun,
    WriteUp,
    basis_counts,
    derived_page,
    headline,
    verdict_page,
)
from gptoss_bench.files import open_own, reading
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run, run_caption
from gptoss_bench.site.findings import FrontFinding, front_findings
from gptoss_bench.site.machines import HardwareRow, runs_by_hardware
from gptoss_bench.site.notebook_cells import Cell, NotebookPage, Picture
from gptoss_bench.stats import (
    CLIENT_BOUND_CPU_SHARE,
    CLIENT_BOUND_IDLE_SHARE,
    CLIENT_BOUND_LATE_SHARE,
    MIN_SAMPLES_BEYOND,
    UNCERTAIN_SHARE,
)

FRONT, METHOD, APPENDIX, LINES = "index.html", "method.html", "appendix.html", "lines.html"
# Groups of verdicts that a reader can filter by; each verdict is in one of them.
GROUPS = {
    "holds": ("holds", ("reproduced", "confirmed in sources", "consistent", "seen")),
    "fails": (
        "does not hold",
        ("not reproduced", "contradicted", "inconsistent", "not delivered", "not a measurement"),
    ),
    "older": ("outdated or imprecise", ("outdated", "imprecise", "faster now", "slower now")),
    "known": (
        "computed, or measured elsewhere",
        ("fits", "does not fit", "fits narrowly, not decided", "measured elsewhere", "not comparable"),
    ),
    "open": ("not decided", ("not re-measured", "unreadable")),
    "opinion": ("opinion, or out of scope", ("opinion", "out of scope")),
}
GROUP_OF = {verdict: group for group, (_, verdicts) in GROUPS.items() for verdict in verdicts}
PERFORMANCE, OPINIONS = "Performance figures", "Opinions"
IN_SHORT = {  # by name of the claim: what was claimed, and its value where the claim has no number
    "a10-throughput": ("Ollama on an A10: throughput", ""),
    "token-rate": ("vLLM on an H100: output tokens", ""),
    "ttft-p50": ("vLLM on an H100: median TTFT", ""),
    "bf16-exceeds-a10": ("transformers in BF16 on an A10", "does not fit"),
}
HEADING = re.compile(r'<h2 id="([^"]+)">(.*?)(?:<a class="anchor-link".*?)?</h2>', re.DOTALL)


@dataclass(frozen=True, slots=True)
class Download:
    """A file of a run that the site has: its address relative to the site, its name and its size."""

    address: str
    name: str
    size_bytes: int


@dataclass(frozen=True, slots=True)
class RunPage:
    """A run, the name of its page, its notebook and its downloads."""

    run: Run
    name: str
    notebook: NotebookPage
    downloads: Sequence[Download] = ()


@dataclass(frozen=True, slots=True)
class Filter:
    """A group of verdicts, its words, and how many claims are in it."""

    group: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class Card:
    """A run on the front page: its page, title and labels, on what it ran, and the day."""

    page: str
    title: str
    labels: str
    caption: str
    day: str


@dataclass(frozen=True, slots=True)
class ShortRow:
    """A line of the table that says in short what was claimed, and what became of it."""

    claimed: str
    published: str
    verdict: Verdict


@dataclass(frozen=True, slots=True)
class Link:
    """An address and the text of the link to it."""

    address: str
    text: str


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A claim on the front page: its verdict, the link to its evidence, and the claim itself, which has the test."""

    verdict: Verdict
    found: str
    source: Link | None
    test: Claim | None

    @property
    def group(self) -> str:
        """The group of its verdict, a key of GROUPS."""
        return GROUP_OF[self.verdict.verdict]


@dataclass(frozen=True, slots=True)
class ClaimSection:
    """A part of the write-up, and its claims."""

    title: str
    rows: Sequence[VerdictRow]


@dataclass(frozen=True, slots=True)
class DerivedRow:
    """A number that the kit derived: no claim, so without a verdict."""

    number: str
    says: str
    value: str
    how: str
    beside: str


@dataclass(frozen=True, slots=True)
class FrontView:
    """The front page."""

    headline: str
    day: str
    claims: int
    source: Source
    in_short: Sequence[ShortRow]
    findings: Sequence[FrontFinding]
    bases: Mapping[str, int]
    filters: Sequence[Filter]
    withdrawn: Sequence[WithdrawnRun]
    hero: Picture | None
    cards: Sequence[Card]
    hardware: Sequence[HardwareRow]
    sections: Sequence[ClaimSection]
    derived: Sequence[DerivedRow]
    method: str = METHOD
    appendix: str = APPENDIX
    lines: str = LINES


@dataclass(frozen=True, slots=True)
class LineView:
    """A line of the write-up, or several, and the claims that were read there."""

    lines: str
    verdicts: Sequence[Verdict]


@dataclass(frozen=True, slots=True)
class LinesView:
    """The write-up by line."""

    source: Source
    lines: Sequence[LineView]
    front: str = FRONT


@dataclass(frozen=True, slots=True)
class RunView:
    """The page of a run; `problem` is why it is not complete, "" if it is."""

    run_id: str
    heading: str
    label: str
    problem: str
    caption: str
    cells: Sequence[Cell]
    claims_heading: str
    claims: Sequence[Verdict]
    downloads: Sequence[Download] = ()
    front: str = FRONT
    appendix: str = APPENDIX

    @property
    def contents(self) -> list[Link]:
        """The headings of the notebook, and the claims."""
        texts = [cell.html for cell in self.cells if not cell.code]
        found = [
            Link(f"#{anchor}", Markup(words).striptags()) for text in texts for anchor, words in HEADING.findall(text)
        ]
        return [*found, Link("#claims", self.claims_heading)]


@dataclass(frozen=True, slots=True)
class MethodView:
    """The method: the limits of the code, and the page of the calibration."""

    calibration: str
    beyond: int = MIN_SAMPLES_BEYOND
    pair_share: str = f"{UNCERTAIN_SHARE:.0%}"
    idle_share: str = f"{CLIENT_BOUND_IDLE_SHARE:.0%}"
    late_share: str = f"{CLIENT_BOUND_LATE_SHARE:.0%}"
    cpu_share: str = f"{CLIENT_BOUND_CPU_SHARE:.0%}"
    rules: Sequence[object] = RULES
    words: Mapping[str, Sequence[str]] = field(default_factory=lambda: WORDS_BY_BASIS)


@dataclass(frozen=True, slots=True)
class AppendixRun:
    """A run in the appendix; `manifest` is its file as text."""

    run_id: str
    page: str
    title: str
    origin: str
    downloads: Sequence[Download]
    manifest: str


@dataclass(frozen=True, slots=True)
class AppendixView:
    """The appendix."""

    runs: Sequence[AppendixRun]


def front_view(verdicts: Sequence[Verdict], write_up: WriteUp, pages: Sequence[RunPage]) -> FrontView:
    """Return the front page: counts, runs, and every claim with its basis, its verdict and a link to its evidence."""
    claims = write_up.by_id
    by_run = {page.run.run_id: page for page in pages}
    texts = verdict_page(verdicts).to_dict("index")
    rows = [
        VerdictRow(verdict, texts[verdict.number]["found"], _source(verdict, by_run), claims.get(verdict.claim_id))
        for verdict in verdicts
    ]
    own = next((page for page in pages if page.run.has_main_verdicts), None)
    derived = [
        DerivedRow(str(number), row["derived by us"], row["value"], row["how"], row["what else is known"])
        for number, row in derived_page(write_up).iterrows()
    ]
    return FrontView(
        headline=headline(verdicts),
        day=_day(max((page.run.manifest.start_utc or "" for page in pages), default="")),
        claims=len(rows),
        source=write_up.source,
        in_short=_in_short(rows),
        findings=front_findings([(page.run, page.name) for page in pages], write_up, FRONT),
        bases={basis: count for basis, count in basis_counts(verdicts).items() if count},
        filters=[
            Filter(group, words, count)
            for group, (words, _) in GROUPS.items()
            if (count := sum(row.group == group for row in rows))
        ],
        withdrawn=write_up.withdrawn,
        hero=own.notebook.pictures[-1] if own and own.notebook.pictures else None,
        cards=[_card(page) for page in pages],
        hardware=runs_by_hardware(page.run for page in pages),
        sections=_sections(rows),
        derived=derived,
    )


def lines_view(verdicts: Iterable[Verdict], write_up: WriteUp) -> LinesView:
    """Return the write-up by line, with the claims that were read there."""
    by_lines: dict[str, list[Verdict]] = {}
    for verdict in verdicts:
        for lines in verdict.lines.split(", "):
            by_lines.setdefault(lines, []).append(verdict)
    ordered = sorted(by_lines.items(), key=lambda item: [int(end) for end in item[0].split("-")])
    return LinesView(write_up.source, [LineView(lines, found) for lines, found in ordered])


def _sections(rows: Sequence[VerdictRow]) -> list[ClaimSection]:
    """Return the claims by part of the write-up, performance figures first and opinions last."""
    by_title: dict[str, list[VerdictRow]] = {PERFORMANCE: []}
    opinions = []
    for row in rows:
        if row.verdict.kind == "opinion":
            opinions.append(row)
        elif row.verdict.kind == "performance":
            by_title[PERFORMANCE].append(row)
        else:
            section = row.test.section if row.test else ""
            by_title.setdefault(re.split("[,;]", section)[0] or "Other claims", []).append(row)
    by_title[OPINIONS] = opinions
    return [ClaimSection(title, found) for title, found in by_title.items() if found]


def _in_short(rows: Sequence[VerdictRow]) -> list[ShortRow]:
    by_name = {row.test.name: row.verdict for row in rows if row.test}
    return [
        ShortRow(claimed, by_name[name].published or value, by_name[name])
        for name, (claimed, value) in IN_SHORT.items()
        if name in by_name
    ]


def _card(page: RunPage) -> Card:
    manifest = page.run.manifest
    caption = run_caption(manifest, labels=False, run_id=False)
    return Card(page.name, page.notebook.title, ", ".join(manifest.labels), caption, _day(manifest.start_utc or ""))


def _day(utc: str) -> str:
    """Return the day of a time in ISO format, such as "27 November 2026"; "" for none."""
    if not utc:
        return ""
    day = date.fromisoformat(utc[:10])
    return f"{day.day} {day:%B %Y}"


def _source(verdict: Verdict, pages: Mapping[str, RunPage]) -> Link | None:
    """Return a link from a verdict to the page of its evidence: its run, or the notebook of the verdicts."""
    own = next((page for page in pages.values() if page.run.has_main_verdicts), None)
    page = pages.get(verdict.run_id or "") or own
    if page is None or verdict.basis == NO_BASIS:
        return None
    return Link(page.name, "the run" if verdict.run_id == page.run.run_id else "in the notebook of the verdicts")


def run_view(page: RunPage, verdicts: Iterable[Verdict]) -> RunView:
    """Return the page of a run, with the claims whose evidence is this run."""
    run, manifest = page.run, page.run.manifest
    own = run.has_main_verdicts
    claims = []
    for verdict in verdicts:
        computed = own and not verdict.run_id and verdict.basis != NO_BASIS
        if computed or verdict.run_id == run.run_id or run.run_id in verdict.evidence:
            claims.append(verdict)
    return RunView(
        run_id=run.run_id,
        heading=page.notebook.heading,
        label=", ".join(manifest.labels),
        problem="" if manifest.status == "complete" else f"{manifest.status}: {manifest.reason}",
        caption=run_caption(manifest, labels=False),
        cells=page.notebook.cells,
        claims_heading="Claims decided here" if own else "Claims whose evidence names this run",
        claims=claims,
        downloads=page.downloads,
    )


def appendix_view(pages: Iterable[RunPage]) -> AppendixView:
    """Return the appendix: manifest and downloads of each run."""
    runs = [
        AppendixRun(
            run_id=page.run.run_id,
            page=page.name,
            title=page.notebook.title,
            origin=f"{run_caption(page.run.manifest, run_id=False)} · code {page.run.manifest.code.commit}",
            downloads=page.downloads,
            manifest=_manifest_text(page.run),
        )
        for page in pages
    ]
    return AppendixView(runs)


def _manifest_text(run: Run) -> str:
    file = run.path / "manifest.json"
    with reading(file), open_own(file, "r", encoding="utf-8") as content:
        return str(content.read()).strip()
