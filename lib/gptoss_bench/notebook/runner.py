"""Execute a notebook with papermill into its run folder, and check that it wrote a complete run.

However the notebook ends, its run is finished: complete, or incomplete with the reason.
"""

import contextlib
import logging
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TextIO

import nbformat
import papermill
from nbclient.exceptions import CellTimeoutError, DeadKernelError
from nbconvert import HTMLExporter

from gptoss_bench import paths
from gptoss_bench.engines import clean_url
from gptoss_bench.files import writing
from gptoss_bench.notebook.kernel import KernelStop
from gptoss_bench.notebook.profiles import notebook_path
from gptoss_bench.runs import Purpose, Run, new_run_id, repeated_runs, write_record
from gptoss_bench.session import finish_interrupted, kept_text, on_first_stop, stop_reason
from gptoss_client import API_KEY_VARIABLE, JsonValue, RunFailed, UsageError, hide_key

CELL_TIMEOUT_S = 3600
# nbconvert's page loads these from a CDN; an empty address leaves them out.
CDN_TRAITS = ("mathjax_url", "require_js_url", "jquery_url", "mermaid_js_url", "mermaid_layout_elk_js_url")
# What an output holds loads nothing from elsewhere and runs no script.
PAGE_POLICY = (
    '<meta http-equiv="Content-Security-Policy" content="'
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; font-src data:; base-uri 'none'; form-action 'none'"
    '">'
)


@dataclass(frozen=True, slots=True)
class ExecutedNotebook:
    """An executed notebook, its HTML page, and the run that it wrote."""

    run: Run
    notebook: Path
    html: Path


def execute_notebook(
    notebook: str,
    parameters: Mapping[str, JsonValue],
    results: Path,
    *,
    profile: str = "",
    run_id: str = "",
    timeout_s: int = CELL_TIMEOUT_S,
    output: TextIO | None = None,
    report_cell: Callable[[str], None] = lambda _cell: None,
) -> ExecutedNotebook:
    """Execute one notebook and return its run; a run is complete if every cell ran and the last one wrote its result.

    The manifest of the run, and of each repeat of its load, states its purpose, `profile` and `parameters`, if a
    profile gave the parameters.
    `run_id`: empty for a new one. `timeout_s` limits each cell; what the cells print is also written to `output` at
    once, if given. `report_cell` gets the section and the number of each cell before it runs,
    and at the end that the page is written.
    Raises UsageError if a cell raised one, and RunFailed for every other failure; the notebook stays in the run folder
    with the outputs so far.
    """
    source = notebook_path(notebook)
    _refuse_secrets(parameters)
    run_id = run_id or new_run_id(source.stem.replace("_", "-"))
    folder = results / "runs" / run_id
    target = folder / "notebook.ipynb"
    with writing(folder, "name another results folder"):
        folder.mkdir(parents=True, exist_ok=True)
    prepared = _without_other_write_ups(source, target, parameters)
    stop, sections = KernelStop(), _sections(prepared)

    def begin_cell(*, cell_index: int, **cell: object) -> None:
        stop.check(**cell)
        if cell_index < len(sections):
            report_cell(f"{sections[cell_index]} (cell {cell_index + 1} of {len(sections)})")

    try:
        with on_first_stop(stop.request):
            papermill.execute_notebook(
                prepared,
                target,
                parameters={**parameters, "run_id": run_id},
                cwd=paths.ROOT,
                progress_bar=False,
                log_output=False,
                stdout_file=output,
                autosave_cell_every=10,
                start_timeout=120,
                # At other levels it warns that loopback is not encrypted, and logs its own shutdown as an error.
                extra_arguments=["--IPKernelApp.log_level=CRITICAL"],
                execution_timeout=timeout_s,
                kernel_manager_class=stop.manager_class(),
                on_cell_start=begin_cell,
            )
    except BaseException as error:
        failure = _failure(error, source, target, timeout_s, stopped=stop.requested)
        _finish_interrupted(folder, stop_reason() if isinstance(failure, KeyboardInterrupt) else str(failure))
        if failure is error:
            raise
        if isinstance(failure, KeyboardInterrupt):
            failure = KeyboardInterrupt(_stopped_text(source, folder))
        raise failure from error
    finally:
        stop.close()
        hide_key_in(target)
    # papermill reports the cells of a killed notebook as "completed", so the status of the run decides.
    run = Run.load(folder)
    if run.manifest.status != "complete":
        reason = f"{source.name} ran to its end but wrote no result"
        _finish_interrupted(folder, reason)
        raise RunFailed(f"{reason}; see {target}")
    if profile:
        run.manifest.purpose = Purpose(profile=profile, parameters=dict(parameters))
        for made in repeated_runs(results, run.manifest.repeat_group or "") or [folder]:
            manifest = Run.load(made).manifest.model_copy(update={"purpose": run.manifest.purpose})
            write_record(made / "manifest.json", manifest)
    report_cell("writing the page")
    _make_portable(target)
    put_findings_on_top(target)
    return ExecutedNotebook(run, target, _to_html(target))


def _sections(source: Path) -> list[str]:
    """Return for each cell of a notebook the heading above it, with the cell that papermill adds."""
    found, heading = list[str](), source.stem
    for cell in nbformat.read(source, as_version=4).cells:
        if cell.cell_type == "markdown" and cell.source.startswith("#"):
            heading = cell.source.splitlines()[0].lstrip("# ")
        found += [heading] * (2 if "parameters" in cell.metadata.get("tags", []) else 1)
    return found


def _without_other_write_ups(source: Path, target: Path, parameters: Mapping[str, JsonValue]) -> Path:
    """Return the notebook to execute: `source`, or a copy at `target` without the cells about another write-up.

    A cell with the tag `only:STEM` is about the write-up of the claims file STEM.yaml.
    """
    if not (claims_file := parameters.get("claims_file")):
        return source
    kept = f"only:{Path(str(claims_file)).stem}"
    book = nbformat.read(source, as_version=4)
    book.cells = [
        cell
        for cell in book.cells
        if all(tag == kept for tag in cell.metadata.get("tags", []) if tag.startswith("only:"))
    ]
    nbformat.write(book, target)
    return target


def _refuse_secrets(parameters: Mapping[str, JsonValue]) -> None:
    """Raise UsageError for a URL with credentials, and for the API key: the notebook keeps its parameters."""
    if url := parameters.get("url"):
        clean_url(str(url))
    for name, value in parameters.items():
        if hide_key(str(value)) != str(value):
            raise UsageError(f"the parameter {name} holds the API key: leave it in {API_KEY_VARIABLE} alone")


def hide_key_in(notebook: Path) -> None:
    """Remove the API key from the outputs of a notebook file, in which a cell may have printed it."""
    with contextlib.suppress(OSError):
        text = notebook.read_text(encoding="utf-8", errors="surrogateescape")
        if (hidden := hide_key(text)) != text:
            notebook.write_text(hidden, encoding="utf-8", errors="surrogateescape")


def _failure(error: BaseException, source: Path, target: Path, timeout_s: int, *, stopped: bool) -> BaseException:
    """Return the exception that describes why a notebook did not run to its end, in one line."""
    if stopped or isinstance(error, KeyboardInterrupt):
        # nbclient leaves a task behind that fails because the kernel is gone, and asyncio reports that at exit.
        logging.getLogger("asyncio").setLevel(logging.CRITICAL)
        return KeyboardInterrupt()
    if isinstance(error, papermill.PapermillExecutionError):
        message = f"{error.evalue} [{source.name}, cell {error.cell_index + 1}; see {target}]"
        return UsageError(message) if error.ename == "UsageError" else RunFailed(f"{error.ename}: {message}")
    if isinstance(error, CellTimeoutError):
        return RunFailed(f"{source.name}: a cell ran longer than {timeout_s} s; see {target}")
    if isinstance(error, DeadKernelError):
        return RunFailed(f"{source.name}: the kernel died: it was killed or ran out of memory; see {target}")
    return error


def _finish_interrupted(folder: Path, reason: str) -> None:
    """Finish the run of a notebook whose kernel has ended, if it has begun one; the first error is the one to show."""
    if (folder / "manifest.json").exists():
        with contextlib.suppress(UsageError):
            finish_interrupted(folder, reason)


def _stopped_text(source: Path, folder: Path) -> str:
    """Return what was stopped, what is kept, and how to read it, in one line."""
    if not (folder / "manifest.json").exists():
        return f"stopped in {source.name}, before its run began: nothing is kept; run it again"
    return f"stopped in {source.name}; {kept_text(folder)}; nothing continues a stopped run: run it again"


def _make_portable(path: Path) -> None:
    """Remove paths of this machine, and widget state, which GitHub cannot show."""
    book = nbformat.read(path, as_version=4)
    book.metadata.pop("widgets", None)
    for name in ("input_path", "output_path"):
        book.metadata.papermill[name] = Path(book.metadata.papermill[name]).name
    nbformat.write(book, path)


def put_findings_on_top(path: Path) -> None:
    """Put what the cells with the tags `title` and `finding` printed into the first cell: its heading, and below it."""
    book = nbformat.read(path, as_version=4)
    title, finding = (_printed(book, tag) for tag in ("title", "finding"))
    first = book.cells[0]
    if path.resolve().is_relative_to(paths.ROOT):  # links between notebooks lead from the run folder back to them
        back = Path(os.path.relpath(paths.NOTEBOOKS, path.resolve().parent)).as_posix()
        first.source = re.sub(r"\]\((\w+\.ipynb)\)", rf"]({back}/\1)", first.source)
        nbformat.write(book, path)
    if first.cell_type != "markdown" or not (title or finding):
        return
    heading, _, rest = first.source.partition("\n")
    lines = [
        f"# {title}" if title else heading,
        *(f"> **{line}**  " for line in finding.splitlines()),
        rest.lstrip("\n"),
    ]
    first.source = "\n\n".join([lines[0], "\n".join(lines[1:-1]), lines[-1]]) if finding else "\n\n".join(lines)
    nbformat.write(book, path)


def _printed(book: nbformat.NotebookNode, tag: str) -> str:
    """Return what the first cell with a tag printed, without surrounding space."""
    for cell in book.cells:
        if cell.cell_type == "code" and tag in cell.metadata.get("tags", []):
            return "".join(one.text for one in cell.outputs if one.output_type == "stream").strip()
    return ""


def _to_html(path: Path) -> Path:
    exporter = HTMLExporter(template_name="lab", **dict.fromkeys(CDN_TRAITS, ""))
    body, _ = exporter.from_filename(str(path))
    html = path.with_suffix(".html")
    html.write_text(body.replace("<head>", f"<head>{PAGE_POLICY}", 1), encoding="utf-8")
    return html
