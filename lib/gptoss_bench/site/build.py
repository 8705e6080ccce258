"""Write executed notebooks of runs as a site: a folder of pages and downloads that opens from disk."""

import gzip
import logging
import os
import shutil
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.claims import RunRecord, Verdict, WriteUp, decide_claims, load_write_up, verdicts_from_table
from gptoss_bench.files import reading, writing
from gptoss_bench.lint import RULES
from gptoss_bench.runs import ChosenRun, Run, VerdictsSummary
from gptoss_bench.site.notebook_cells import read_notebook
from gptoss_bench.site.render import Frame, render
from gptoss_bench.site.report import report_page
from gptoss_bench.site.views import (
    APPENDIX,
    FRONT,
    LINES,
    METHOD,
    Download,
    MethodView,
    RunPage,
    appendix_view,
    front_view,
    lines_view,
    own_runs_view,
    page_of,
    run_view,
)
from gptoss_client import UsageError

CSV_TABLES = ("requests", "levels", "verdicts", "host")  # those of the figures; the others are in the run folder
PLAIN_CSV_BYTES = 5_000  # a larger CSV is compressed
MAX_CSV_BYTES = 80_000  # compressed; a larger one stays in the run folder
FILE_LIST = "files.txt"  # of a site: the only files that a new site in its folder may replace or remove
SCENARIOS = ("vllm-h100", "ollama-a10", "transformers-bf16", "method-trial")  # of the write-up
TAKEN_PAGES = {Path(name).stem for name in (FRONT, METHOD, APPENDIX)}


def with_evidence(runs: list[Run], results: Path) -> list[Run]:
    """Return these runs and the evidence of the runs of verdicts among them, each run once.

    Evidence that is not there any more or cannot be read is left out, with a warning that names it.
    """
    found = {run.run_id: run for run in runs}
    for run in runs:
        for run_id in run.summary.runs if isinstance(run.summary, VerdictsSummary) else ():
            try:
                found.setdefault(run_id, Run.load(results / "runs" / run_id))
            except UsageError as error:
                logging.getLogger(__name__).warning("left out a run of the evidence: %s", error)
    return list(found.values())


def build_site(runs: Sequence[Run], target: Path, report: Callable[[str], None] = lambda _: None) -> Path:
    """Write the site of these runs, one page per run, and return its front page.

    An existing site is replaced: of its folder, only the files that its own list names are removed.

    A run without a notebook gets its report as page. The verdicts are those of the newest run of verdicts.ipynb, or are
    computed from the runs if there is none. `report` is called with what is done now, in words. Raises UsageError if
    `target` is a non-empty folder without a site.
    """
    with writing(target, "name another folder with --out"):
        former = _files_of_site(target)
        target.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f".{target.name}-", dir=target.parent))
        try:
            _write(sorted(runs, key=_order), part, report)
            made = sorted(file.relative_to(part).as_posix() for file in part.rglob("*") if file.is_file())
            (part / FILE_LIST).write_text("".join(f"{name}\n" for name in made), encoding="utf-8")
            for name in former:
                (target / name).unlink()
            for folder in sorted({parent for name in former for parent in (target / name).parents}, reverse=True):
                if folder.is_relative_to(target) and not any(folder.iterdir()):
                    folder.rmdir()
            for name in (*made, FILE_LIST):
                (target / name).parent.mkdir(parents=True, exist_ok=True)
                os.replace(part / name, target / name)
        finally:
            shutil.rmtree(part, ignore_errors=True)
    return target / FRONT


def _files_of_site(target: Path) -> list[str]:
    """Return the files of the site in a folder by its list, those that are there; none for an empty folder.

    Raises UsageError if the folder has other files and no list. A name that leads out of the folder, and a link, are
    left out.
    """
    if not target.exists() or not any(target.iterdir()):
        return []
    file = target / FILE_LIST
    if not file.is_file() or file.is_symlink():
        raise UsageError(
            f"{target} is not empty and has no list of the files of a site: name an empty folder with --out"
        )
    with reading(file):
        names = file.read_text(encoding="utf-8").splitlines()
    top = target.resolve()
    inside = [name for name in dict.fromkeys((*names, FILE_LIST)) if (top / name).resolve() == top / name]
    return [name for name in inside if (top / name).is_relative_to(top) and (top / name).is_file()]


def _order(run: Run) -> tuple[int, str]:
    """Order scenarios first, then verdicts, then the calibration."""
    return {"verdicts": 1, "calibration": 2}.get(run.scenario, 0), run.run_id


def _write(runs: Sequence[Run], folder: Path, report: Callable[[str], None]) -> None:
    write_up = load_write_up()
    pages: list[RunPage] = []
    for run, name in zip(runs, names := _page_names(runs), strict=True):
        report(f"page {len(pages) + 1} of {len(names)}: {name}")
        pages.append(_run_page(run, name, folder))
    report("front page, method and data")
    # Runs of other scenarios only are not about the write-up: their site has no claims.
    about = any(run.has_main_verdicts or run.scenario in SCENARIOS for run in runs)
    verdicts = _verdicts(runs, write_up) if about else []
    links = [(FRONT, "Findings"), (f"{FRONT}#claims", "Claims"), (LINES, "By line")] if about else []
    links += [(f"{FRONT}#runs", "Runs"), (METHOD, "Method"), (APPENDIX, "Data")]
    links += [(f"{FRONT}#rerun", "Run it"), (f"{FRONT}#cite", "Cite")] if about else []
    numbers = {number: f"{FRONT}#{number}" for number in (verdict.number for verdict in verdicts)}
    run_ids = {page.run.run_id: page.name for page in pages}
    # A rule id without a hyphen may be a common word.
    rules = {rule.id: f"{METHOD}#{rule.id}" for rule in RULES if "-" in rule.id}

    def write(template: str, name: str, title: str, view: object) -> None:
        targets = numbers | run_ids | rules
        others = {word: target for word, target in targets.items() if target.partition("#")[0] != name}
        html = render(template, view, Frame(name, title, links, write_up.source if about else None), others)
        (folder / name).write_text(html, encoding="utf-8")

    for page in pages:
        write("run.html.j2", page.name, page.full_title, run_view(page, verdicts if about else None))
    if about:
        write("front.html.j2", FRONT, "gpt-oss, measured again", front_view(verdicts, write_up, pages))
        write("lines.html.j2", LINES, "The write-up by line", lines_view(verdicts, write_up))
    else:
        own = own_runs_view(pages)
        write("own.html.j2", FRONT, own.title, own)
    write("method.html.j2", METHOD, "The method", MethodView(page_of("calibration", pages) or APPENDIX))
    write("appendix.html.j2", APPENDIX, "Data", appendix_view(pages))
    shutil.copyfile(paths.SITE_TEMPLATES / "style.css", folder / "style.css")


def _run_page(run: Run, name: str, folder: Path) -> RunPage:
    origin = f"Of run {run.run_id}" + (f", {', '.join(run.manifest.labels)}." if run.manifest.labels else ".")
    file = run.path / "notebook.ipynb"
    pictures, prefix = folder / "pictures", Path(name).stem
    if file.exists():
        notebook = read_notebook(file, pictures, prefix, origin, run)
    else:
        notebook = report_page(run, pictures, prefix, origin)
    return RunPage(run, name, notebook, _copy_downloads(run, folder))


def _verdicts(runs: Sequence[Run], write_up: WriteUp) -> list[Verdict]:
    complete = [run for run in runs if run.manifest.status == "complete"]
    for run in sorted(complete, key=lambda run: run.run_id, reverse=True):
        if run.has_main_verdicts:
            return verdicts_from_table(run.table("verdicts"))
    named = [ChosenRun(run, run.scenario, "named") for run in complete]
    return decide_claims(write_up, [RunRecord.of(chosen) for chosen in named])


def _page_names(runs: Sequence[Run]) -> list[str]:
    """Name each page after its scenario, or after the run id if another page has that name."""
    scenarios = [run.scenario for run in runs]
    names = [run.scenario if scenarios.count(run.scenario) == 1 else run.run_id for run in runs]
    return [f"run-{name}.html" if name in TAKEN_PAGES else f"{name}.html" for name in names]


def _is_own_file(file: Path) -> bool:
    """Return whether a file lies in the run folder itself: a link would publish a file from elsewhere."""
    return file.is_file() and not file.is_symlink()


def _copy_downloads(run: Run, folder: Path) -> list[Download]:
    """Copy the documents of a run, and write the tables that its figures are drawn of as CSV."""
    target = folder / "tables" / run.run_id
    target.mkdir(parents=True)
    for name in ("manifest.json", "summary.json", "lint.json"):
        if _is_own_file(run.path / name):
            shutil.copyfile(run.path / name, target / name)
    for name in CSV_TABLES:
        if _is_own_file(run.path / f"{name}.parquet"):
            text = run.table(name).to_csv(index=False).encode()
            if len(text) <= PLAIN_CSV_BYTES:
                (target / f"{name}.csv").write_bytes(text)
            elif len(small := gzip.compress(text, mtime=0)) <= MAX_CSV_BYTES:
                (target / f"{name}.csv.gz").write_bytes(small)
    return [
        Download(file.relative_to(folder).as_posix(), file.name, file.stat().st_size)
        for file in sorted(target.iterdir())
    ]
