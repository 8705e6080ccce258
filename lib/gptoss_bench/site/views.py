"""Prepare what the templates show: one typed record per page, from runs, verdicts and claims."""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from gptoss_bench.claims import Claim, Verdict, verdict_counts, verdict_page
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run, run_caption
from gptoss_bench.site.notebook_cells import Cell, NotebookPage, Picture
from gptoss_bench.stats import (
    CLIENT_BOUND_CPU_SHARE,
    CLIENT_BOUND_IDLE_SHARE,
    CLIENT_BOUND_LATE_SHARE,
    MIN_SAMPLES_BEYOND,
    UNCERTAIN_SHARE,
)

FRONT, METHOD, APPENDIX = "index.html", "method.html", "appendix.html"


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
class Count:
    """A verdict and the numbers of the claims that got it."""

    verdict: str
    numbers: Sequence[str]


@dataclass(frozen=True, slots=True)
class Card:
    """A run on the front page."""

    page: str
    title: str
    caption: str
    picture: Picture | None


@dataclass(frozen=True, slots=True)
class Link:
    """An address and the text of the link to it."""

    address: str
    text: str


@dataclass(frozen=True, slots=True)
class VerdictRow:
    """A claim on the front page: its texts, the link to its evidence, and the claim itself, which has the test."""

    number: str
    claim: str
    published: str
    found: str
    verdict: str
    needs: str
    evidence: str
    source: Link | None
    test: Claim | None


@dataclass(frozen=True, slots=True)
class FrontView:
    """The front page."""

    counts: Sequence[Count]
    labels: Sequence[str]
    cards: Sequence[Card]
    rows: Sequence[VerdictRow]
    method: str = METHOD
    appendix: str = APPENDIX


@dataclass(frozen=True, slots=True)
class DecidedClaim:
    """A claim on the page of the run that decides it."""

    number: str
    says: str
    verdict: str


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
    claims: Sequence[DecidedClaim]
    front: str = FRONT
    appendix: str = APPENDIX


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
    """The appendix; larger tables than `max_table_bytes` stay in the run folders."""

    runs: Sequence[AppendixRun]
    max_table_bytes: int


def front_view(verdicts: Sequence[Verdict], claims: Iterable[Claim], pages: Sequence[RunPage]) -> FrontView:
    """Return the front page: counts, runs, and every claim with its verdict and a link to its evidence."""
    by_id = {claim.claim_id: claim for claim in claims}
    by_run = {page.run.run_id: page for page in pages}
    texts = verdict_page(verdicts).to_dict("index")
    rows = []
    for verdict in verdicts:
        number = claim_number(verdict)
        text = texts[number]
        rows.append(
            VerdictRow(
                number=number,
                claim=text["claim"],
                published=text["published"],
                found=text["found"],
                verdict=verdict.verdict,
                needs=verdict.needs or "",
                evidence=text["evidence"],
                source=_source(verdict, by_run),
                test=by_id.get(verdict.claim_id),
            )
        )
    counts = [
        Count(word, [claim_number(verdict) for verdict in verdicts if verdict.verdict == word])
        for word, count in verdict_counts(verdicts).items()
        if count
    ]
    labels = sorted({", ".join(page.run.manifest.labels) for page in pages if page.run.manifest.labels})
    return FrontView(counts, labels, [_card(page) for page in pages], rows)


def claim_number(verdict: Verdict) -> str:
    """Return the number of a claim, such as C01, which is the id of its row."""
    return verdict.claim_id.partition("-")[0]


def _card(page: RunPage) -> Card:
    pictures = page.notebook.pictures
    return Card(page.name, page.notebook.title, run_caption(page.run.manifest), pictures[0] if pictures else None)


def _source(verdict: Verdict, pages: Mapping[str, RunPage]) -> Link | None:
    """Return a link from a verdict to the page of its evidence: its run, or the notebook of the verdicts."""
    own = next((page for page in pages.values() if page.run.scenario == "verdicts"), None)
    page = pages.get(verdict.run_id or "") or own
    if page is None or verdict.needs or verdict.kind == "opinion":
        return None
    computed = verdict.run_id != page.run.run_id
    return Link(page.name, "computed in the notebook of the verdicts" if computed else "the run")


def run_view(page: RunPage, verdicts: Iterable[Verdict]) -> RunView:
    """Return the page of a run, with the claims whose evidence is this run."""
    run, manifest = page.run, page.run.manifest
    own = run.scenario == "verdicts"
    claims = []
    for verdict in verdicts:
        computed = own and not (verdict.run_id or verdict.needs or verdict.kind == "opinion")
        if computed or verdict.run_id == run.run_id or run.run_id in verdict.evidence:
            claims.append(DecidedClaim(claim_number(verdict), verdict.says, verdict.verdict))
    return RunView(
        run_id=run.run_id,
        heading=page.notebook.heading,
        label=", ".join(manifest.labels),
        problem="" if manifest.status == "complete" else f"{manifest.status}: {manifest.reason}",
        caption=run_caption(manifest, labels=False),
        cells=page.notebook.cells,
        claims_heading="Claims computed here" if own else "Claims decided by this run",
        claims=claims,
    )


def appendix_view(pages: Iterable[RunPage], max_table_bytes: int) -> AppendixView:
    """Return the appendix: manifest and downloads of each run."""
    runs = [
        AppendixRun(
            run_id=page.run.run_id,
            page=page.name,
            title=page.notebook.title,
            origin=f"{run_caption(page.run.manifest, run_id=False)} · code {page.run.manifest.code.commit}",
            downloads=page.downloads,
            manifest=(page.run.path / "manifest.json").read_text(encoding="utf-8").strip(),
        )
        for page in pages
    ]
    return AppendixView(runs, max_table_bytes)
