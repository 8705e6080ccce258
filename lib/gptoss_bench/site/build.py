"""Write executed notebooks of runs as a site: a folder of pages and downloads that opens from disk."""

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import nbformat

from gptoss_bench import paths
from gptoss_bench.claims import RunRecord, Verdict, decide_claims, load_claims, verdicts_from_table
from gptoss_bench.lint import RULES
from gptoss_bench.runs import Run, latest_runs
from gptoss_bench.site.front import (
    APPENDIX,
    FRONT,
    METHOD,
    RunPage,
    appendix_html,
    front_page_html,
    method_markdown,
    run_claims_html,
    run_header_html,
)
from gptoss_bench.site.page import PageFrame, extract_pictures, html_cell, markdown_cell, notebook_title, render_page
from gptoss_client import UsageError

RAW_TABLE = "raw"  # stays in the run folder: it is as large as all other tables together
CSV_TABLES = ("requests", "levels", "verdicts", "host")  # small enough to be written as CSV as well
MAX_TABLE_BYTES = 2_000_000  # a larger table stays in the run folder
SITE_MARK = 'content="gptoss_bench"'  # in the front page of a folder that a new site may replace


def with_evidence(runs: list[Run], results: Path) -> list[Run]:
    """Return these runs and the evidence of the runs of verdicts among them, each run once."""
    ids = [run.run_id for run in runs]
    evidence = [run_id for run in runs if run.scenario == "verdicts" for run_id in run.summary["runs"]]
    return latest_runs(results, dict.fromkeys([*ids, *evidence]))


def build_site(runs: Sequence[Run], target: Path) -> Path:
    """Write the site of these runs, one page per run, and return its front page. An existing site is replaced.

    The verdicts are those of the newest run of verdicts.ipynb, or are computed from the runs if there is none. Raises
    UsageError if a run has no executed notebook, or if `target` is a non-empty folder without a site.
    """
    part = target.with_name(target.name + ".part")
    shutil.rmtree(part, ignore_errors=True)
    try:
        if target.exists() and any(target.iterdir()) and not _is_site(target):
            raise UsageError(f"{target} is not empty and has no site: name an empty folder with --out")
        part.mkdir(parents=True)
        _write(sorted(runs, key=_order), part)
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
    return front.is_file() and SITE_MARK in front.read_text(encoding="utf-8", errors="replace")


def _order(run: Run) -> tuple[int, str]:
    """Order scenarios first, then verdicts, then the calibration."""
    return {"verdicts": 1, "calibration": 2}.get(run.scenario, 0), run.run_id


def _write(runs: Sequence[Run], folder: Path) -> None:
    verdicts = _verdicts(runs)
    books = [_read_notebook(run) for run in runs]
    names = _page_names(runs)
    pages = []
    for run, name, book in zip(runs, names, books, strict=True):
        origin = f"Of run {run.run_id}" + (f", {run.manifest['label']}." if run.manifest["label"] else ".")
        pictures = extract_pictures(book, folder / "pictures", Path(name).stem, origin)
        pages.append(RunPage(run, name, notebook_title(book), pictures, _copy_downloads(run, folder)))
    links = [(FRONT, "Verdicts"), *((page.name, _link_text(page)) for page in pages)]
    links += [(METHOD, "Method"), (APPENDIX, "Appendix")]
    numbers = [verdict.claim_id.partition("-")[0] for verdict in verdicts]
    targets = {page.run.run_id: page.name for page in pages} | {at: f"{FRONT}#{at}" for at in numbers}
    targets |= {
        rule.id: f"{METHOD}#{rule.id}" for rule in RULES if "-" in rule.id
    }  # a rule id without a hyphen may be a common word
    foot = "These pages run no script and load nothing from a server."

    def write(name: str, title: str, cells: Sequence[Any]) -> None:
        own = {FRONT: numbers, METHOD: [rule.id for rule in RULES]}.get(
            name, [page.run.run_id for page in pages if page.name == name]
        )
        others = {word: target for word, target in targets.items() if word not in own}
        html = render_page(cells, PageFrame(name, title, links, foot), others)
        (folder / name).write_text(html, encoding="utf-8")

    for page, book in zip(pages, books, strict=True):
        title, _, text = book.cells[0].source.partition("\n\n") if book.cells else ("", "", "")
        cells = [markdown_cell(title), html_cell(run_header_html(page.run)), markdown_cell(text), *book.cells[1:]]
        write(page.name, page.title, [*cells, html_cell(run_claims_html(page.run, verdicts))])
    calibration = next((page.name for page in pages if page.run.scenario == "calibration"), APPENDIX)
    sizes = {file: (folder / file).stat().st_size for page in pages for file in page.downloads}
    write(FRONT, "gpt-oss, measured again", [html_cell(front_page_html(verdicts, load_claims(), pages))])
    write(METHOD, "The method", [markdown_cell(method_markdown(calibration))])
    write(APPENDIX, "Manifests and tables", [html_cell(appendix_html(pages, sizes, MAX_TABLE_BYTES))])
    shutil.copyfile(paths.SITE_TEMPLATE / "style.css", folder / "style.css")


def _verdicts(runs: Sequence[Run]) -> list[Verdict]:
    complete = [run for run in runs if run.manifest["status"] == "complete"]
    for run in sorted(complete, key=lambda run: run.run_id, reverse=True):
        if run.scenario == "verdicts":
            return verdicts_from_table(run.table("verdicts"))
    records = [RunRecord(run.run_id, run.scenario, run.manifest, run.summary) for run in complete]
    return decide_claims(load_claims(), records)


def _read_notebook(run: Run) -> Any:
    file = run.path / "notebook.ipynb"
    try:
        return nbformat.read(file, as_version=4)
    except (OSError, ValueError) as error:
        raise UsageError(
            f"run {run.run_id} has no executed notebook, which its page needs: leave the run out"
        ) from error


def _page_names(runs: Sequence[Run]) -> list[str]:
    """Name each page after its scenario, or after the run id if several runs have the scenario."""
    scenarios = [run.scenario for run in runs]
    return [f"{run.scenario if scenarios.count(run.scenario) == 1 else run.run_id}.html" for run in runs]


def _link_text(page: RunPage) -> str:
    texts = {"verdicts": "Verdicts, computed", "calibration": "Calibration"}
    return texts.get(Path(page.name).stem, Path(page.name).stem)


def _copy_downloads(run: Run, folder: Path) -> list[Path]:
    """Copy the documents and tables of a run, small tables also as CSV; return their paths relative to the site."""
    target = folder / "tables" / run.run_id
    target.mkdir(parents=True)
    for name in ("manifest.json", "summary.json", "lint.json"):
        if (run.path / name).exists():
            shutil.copyfile(run.path / name, target / name)
    for file in sorted(run.path.glob("*.parquet")):
        if file.stem != RAW_TABLE and file.stat().st_size <= MAX_TABLE_BYTES:
            shutil.copyfile(file, target / file.name)
        if file.stem in CSV_TABLES and file.stat().st_size <= MAX_TABLE_BYTES:
            run.table(file.stem).to_csv(target / f"{file.stem}.csv", index=False)
    return [file.relative_to(folder) for file in sorted(target.iterdir())]
