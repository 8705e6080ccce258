"""The write-up as a folder that opens from disk: executed notebooks of chosen runs in, pages and downloads out."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from gptoss_bench import paths
from gptoss_bench.claims import RunRecord, Verdict, judge_claims, load_claims, verdicts_from_table
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run
from gptoss_bench.site.front import (
    APPENDIX,
    FRONT,
    METHOD,
    RunPage,
    about_run,
    appendix_page,
    claims_of_run,
    front_page,
    method_page,
)
from gptoss_bench.site.page import Frame, markdown_html, raw_html, render_page, take_pictures, title_of
from gptoss_client import UsageError

LEFT_OUT = "raw"  # the table of raw bytes is as large as all the others, and stays in the run folder
AS_CSV = ("requests", "levels", "verdicts", "host")  # small enough to be there twice
LARGEST = 2_000_000  # bytes of a table that comes along
MARK = 'content="gptoss_bench"'  # in the front page of a folder that a new site may replace


def build_site(runs: Sequence[Run], target: Path) -> Path:
    """Write the site of these runs, one page a run, and return its front page; a site that was there is replaced.

    The verdicts are those of the newest run of verdicts.ipynb among them, or are worked out from the runs where there
    is none. Raises UsageError where a run has no executed notebook, or `target` holds something that is no site.
    """
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if target.exists() and any(target.iterdir()) and not _is_site(target):
            raise UsageError(f"{target} holds something else than a site: name an empty folder with --out")
        part.mkdir(parents=True)
        _write(sorted(runs, key=_place), part)
        if target.exists():
            shutil.rmtree(target)
        part.rename(target)
    except OSError as error:
        raise UsageError(f"cannot write to {target}: {error.strerror}; name another folder with --out") from error
    finally:
        shutil.rmtree(part, ignore_errors=True)
    return target / FRONT


def _is_site(target: Path) -> bool:
    front = target / FRONT
    return front.is_file() and MARK in front.read_text(encoding="utf-8", errors="replace")


def _place(run: Run) -> tuple[int, str]:
    """Scenarios first, then the verdicts, the ruler last."""
    return {"verdicts": 1, "calibration": 2}.get(run.scenario, 0), run.run_id


def _write(runs: Sequence[Run], folder: Path) -> None:
    verdicts = _verdicts(runs)
    books = [_notebook(run) for run in runs]
    names = _names(runs)
    pages = []
    for run, name, book in zip(runs, names, books, strict=True):
        about = f"Of run {run.run_id}" + (f", {run.manifest['label']}." if run.manifest["label"] else ".")
        pictures = take_pictures(book, folder / "pictures", Path(name).stem, about)
        pages.append(RunPage(run, name, title_of(book), pictures, _downloads(run, folder)))
    links = [(FRONT, "Verdicts"), *((page.name, _short(page)) for page in pages)]
    links += [(METHOD, "Method"), (APPENDIX, "Appendix")]
    numbers = [verdict.claim_id.partition("-")[0] for verdict in verdicts]
    targets = {page.run.run_id: page.name for page in pages} | {at: f"{FRONT}#{at}" for at in numbers}
    targets |= {
        rule.id: f"{METHOD}#{rule.id}" for rule in RULES if "-" in rule.id
    }  # a common word is no name of a rule
    foot = "No page here runs a script or asks a server for anything."

    def write(name: str, title: str, cells: Sequence[Any]) -> None:
        own = {FRONT: numbers, METHOD: [rule.id for rule in RULES]}.get(
            name, [page.run.run_id for page in pages if page.name == name]
        )
        others = {word: target for word, target in targets.items() if word not in own}
        html = render_page(cells, Frame(name, title, links, foot), others)
        (folder / name).write_text(html, encoding="utf-8")

    for page, book in zip(pages, books, strict=True):
        title, _, text = book.cells[0].source.partition("\n\n") if book.cells else ("", "", "")
        cells = [markdown_html(title), raw_html(about_run(page.run)), markdown_html(text), *book.cells[1:]]
        write(page.name, page.title, [*cells, raw_html(claims_of_run(page.run, verdicts))])
    calibration = next((page.name for page in pages if page.run.scenario == "calibration"), APPENDIX)
    sizes = {file: (folder / file).stat().st_size for page in pages for file in page.downloads}
    write(FRONT, "gpt-oss, measured again", [raw_html(front_page(verdicts, load_claims(), pages))])
    write(METHOD, "The method", [markdown_html(method_page(calibration))])
    write(APPENDIX, "Manifests and tables", [raw_html(appendix_page(pages, sizes, LARGEST))])
    shutil.copyfile(paths.SITE_TEMPLATE / "style.css", folder / "style.css")


def _verdicts(runs: Sequence[Run]) -> list[Verdict]:
    whole = [run for run in runs if run.manifest["status"] == "complete"]
    for run in sorted(whole, key=lambda run: run.run_id, reverse=True):
        if run.scenario == "verdicts":
            return verdicts_from_table(run.table("verdicts"))
    records = [RunRecord(run.run_id, run.scenario, run.manifest, run.summary) for run in whole]
    return judge_claims(load_claims(), records)


def _notebook(run: Run) -> Any:
    file = run.path / "notebook.ipynb"
    try:
        return nbformat.read(file, as_version=4)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"run {run.run_id} has no executed notebook, and only these become pages: leave it out"
        ) from error


def _names(runs: Sequence[Run]) -> list[str]:
    """The scenario where one run has it to itself, else the whole run id."""
    scenarios = [run.scenario for run in runs]
    return [f"{run.scenario if scenarios.count(run.scenario) == 1 else run.run_id}.html" for run in runs]


def _short(page: RunPage) -> str:
    words = {"verdicts": "Verdicts, worked out", "calibration": "Ruler"}
    return words.get(Path(page.name).stem, Path(page.name).stem)


def _downloads(run: Run, folder: Path) -> list[Path]:
    """Copy a run's documents and tables; small tables as CSV too. Relative to the site."""
    target = folder / "tables" / run.run_id
    target.mkdir(parents=True)
    for name in ("manifest.json", "summary.json", "lint.json"):
        if (run.path / name).exists():
            shutil.copyfile(run.path / name, target / name)
    for file in sorted(run.path.glob("*.parquet")):
        if file.stem != LEFT_OUT and file.stat().st_size <= LARGEST:
            shutil.copyfile(file, target / file.name)
        if file.stem in AS_CSV and file.stat().st_size <= LARGEST:
            run.table(file.stem).to_csv(target / f"{file.stem}.csv", index=False)
    return [file.relative_to(folder) for file in sorted(target.iterdir())]
