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
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run, run_caption
from gptoss_bench.site.findings import FrontFinding, front_findings
from gptoss_bench.site.machines import HardwareRow, runs_by_hardware
from gptoss_bench.site.notebook_cells import Cell, NotebookPage, Picture
from gptoss_bench.site.run_figures import run_finding
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

    @property
    def full_title(self) -> str:
        """The title with the labels of the run, for a tab of a browser or a search."""
        labels = [label for label in self.run.manifest.labels if label not in self.notebook.title]
        return f"{self.notebook.title} ({', '.join(labels)})" if labels else self.notebook.title


@dataclass(frozen=True, slots=True)
class Filter:
    """A group of verdicts, its words, and how many claims are in it."""

    group: str
    words: str
    count: int


@dataclass(frozen=True, slots=True)
class Link:
    """An address and the text of the link to it."""

    address: str
    text: str


@dataclass(frozen=True, slots=True)
class LoadRow:
    """Runs of one load on the same hardware, with a link to the page of each."""

    row: HardwareRow
    links: Sequence[Link]


@dataclass(frozen=True, slots=True)
class Card:
    """A run in a list: its page, title and labels, on what it ran, and the day."""

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
    found: str
    verdict: Verdict


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
    loads: Sequence[LoadRow]
    others: Sequence[Card]
    sections: Sequence[ClaimSection]
    derived: Sequence[DerivedRow]
    version: str
    calibration: str
    memory: str
    method: str = METHOD
    appendix: str = APPENDIX
    lines: str = LINES


@dataclass(frozen=True, slots=True)
class OwnRunsView:
    """The front page of runs that are no evidence on the write-up: what was measured, without its claims.

    `findings` has for each load its page, its title and its finding, labels first.
    """

    title: str
    findings: Sequence[tuple[Link, str]]
    loads: Sequence[LoadRow]
    others: Sequence[Card]
    method: str = METHOD
    appendix: str = APPENDIX


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
    def has_code(self) -> bool:
        """Whether the page has code that a reader can show."""
        return any(cell.code for cell in self.cells)

    @property
    def contents(self) -> list[Link]:
        """The headings of the notebook, and the claims."""
        texts = [cell.html for cell in self.cells if not cell.code]
        found = [
            Link(f"#{anchor}", Markup(words).striptags()) for text in texts for anchor, words in HEADING.findall(text)
        ]
        return [*found, Link("#claims", self.claims_heading)] if self.claims_heading else found


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
    """A run in the appendix: its files on the site, and the names of those that only its folder has."""

    run_id: str
    page: str
    title: str
    origin: str
    downloads: Sequence[Download]
    kept: Sequence[str]


@dataclass(frozen=True, slots=True)
class AppendixView:
    """The appendix; `example` is the folder of a run whose events were decoded, "" if there is none."""

    runs: Sequence[AppendixRun]
    example: str


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
        loads=(loads := _load_rows(pages)),
        others=_other_cards(pages, loads),
        sections=_sections(rows),
        derived=derived,
        version=max((page.run.manifest.code.version or "" for page in pages), default=""),
        calibration=page_of("calibration", pages),
        memory=page_of("transformers-bf16", pages),
    )


def own_runs_view(pages: Sequence[RunPage]) -> OwnRunsView:
    """Return the front page of runs that are no evidence on the write-up; its title names the model and the engine."""
    servers = (page.run.manifest.server for page in pages)
    named = list(dict.fromkeys(f"{one.model} with {one.release}" for one in servers if one.model and one.release))
    title = f"Measured: {named[0]}" if len(named) == 1 else "Measured runs"
    findings = [
        (Link(page.name, page.notebook.title), finding)
        for page in pages
        if page.run.manifest.status == "complete" and (finding := run_finding(page.run))
    ]
    loads = _load_rows(pages)
    return OwnRunsView(title, findings, loads, _other_cards(pages, loads))


def page_of(scenario: str, pages: Iterable[RunPage]) -> str:
    """Return the page of a run of this scenario, "" if there is none."""
    return next((page.name for page in pages if page.run.scenario == scenario), "")


def _load_rows(pages: Sequence[RunPage]) -> list[LoadRow]:
    by_run = {page.run.run_id: page for page in pages}
    return [
        LoadRow(row, [_run_link(by_run[run_id]) for run_id in row.run_ids])
        for row in runs_by_hardware(page.run for page in pages)
    ]


def _run_link(page: RunPage) -> Link:
    """Return a link to the page of a run; its text is the end of the run's id, and whether the page is a notebook."""
    tail = page.run.run_id.rpartition("-")[2]
    return Link(page.name, f"{tail} (notebook)" if any(cell.code for cell in page.notebook.cells) else tail)


def _other_cards(pages: Sequence[RunPage], loads: Sequence[LoadRow]) -> list[Card]:
    shown = {run_id for load in loads for run_id in load.row.run_ids}
    return [_card(page) for page in pages if page.run.run_id not in shown]


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
    by_name = {row.test.name: row for row in rows if row.test}
    return [
        ShortRow(claimed, row.verdict.published or value, row.found, row.verdict)
        for name, (claimed, value) in IN_SHORT.items()
        if (row := by_name.get(name))
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


def run_view(page: RunPage, verdicts: Iterable[Verdict] | None) -> RunView:
    """Return the page of a run, with the claims whose evidence is this run; without `verdicts` it names no claim."""
    run, manifest = page.run, page.run.manifest
    own = run.has_main_verdicts
    heading = "Claims decided here" if own else "Claims whose evidence names this run"
    claims = []
    for verdict in verdicts or ():
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
        claims_heading="" if verdicts is None else heading,
        claims=claims,
        downloads=page.downloads,
    )


def appendix_view(pages: Iterable[RunPage]) -> AppendixView:
    """Return the appendix: the downloads of each run, and what else is in its folder."""
    runs = [
        AppendixRun(
            run_id=page.run.run_id,
            page=page.name,
            title=page.notebook.title,
            origin=f"{run_caption(page.run.manifest, run_id=False)} · code {page.run.manifest.code.commit}",
            downloads=page.downloads,
            kept=sorted(file.name for file in page.run.path.glob("*.parquet")),
        )
        for page in pages
    ]
    example = next((run for run in runs if "events.parquet" in run.kept), None)
    return AppendixView(runs, f"results/runs/{example.run_id}" if example else "")
