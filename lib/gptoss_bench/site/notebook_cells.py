"""Turn an executed notebook into cells of HTML, and write its pictures to files with an alternative text."""

import ast
import base64
import inspect
import io
import re
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from itertools import count
from pathlib import Path
from typing import Any

import nbformat
from matplotlib.figure import Figure
from nbconvert.filters import Highlight2HTML, ansi2html
from PIL import Image

from gptoss_bench import figures
from gptoss_bench.files import reading
from gptoss_bench.runs import Run
from gptoss_bench.site.redraw import redraw
from gptoss_bench.site.render import markdown_html
from gptoss_client import UsageError

MAX_SVG_BYTES = 120_000  # of a picture: one with many marks or hatches is a PNG only
PALETTE_COLOURS = 128  # enough for a figure; a palette needs a third of the bytes
PICTURE_TYPES = {"image/png": "png", "image/svg+xml": "svg"}
SHOWN_TYPES = ("text/html", *PICTURE_TYPES, "text/markdown", "text/plain")  # the first that an output has is shown
PANEL_FIGURES = {"open_fit_panel": "need_against_budget"}  # the figure that a panel of JupyterLab draws


@dataclass(frozen=True, slots=True)
class Picture:
    """A picture: its file relative to the site, its alternative text, and its size in pixels, if known.

    `themed` is whether it has colours for a dark page too.
    """

    file: str
    alt: str
    width: int | None = None
    height: int | None = None
    themed: bool = False


@dataclass(frozen=True, slots=True)
class Output:
    """One output of a code cell: a picture, or HTML, which is `preformatted` if it was text."""

    html: str = ""
    preformatted: bool = False
    error: bool = False
    picture: Picture | None = None


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell as HTML: its text, or its highlighted code."""

    html: str
    code: bool = False
    outputs: Sequence[Output] = ()


@dataclass(frozen=True, slots=True)
class NotebookPage:
    """A notebook for a page: its title as text, its first paragraph (the heading) as HTML, and the other cells."""

    title: str
    heading: str
    cells: Sequence[Cell]

    @property
    def pictures(self) -> list[Picture]:
        """Return the pictures in order."""
        return [output.picture for cell in self.cells for output in cell.outputs if output.picture]


def read_notebook(file: Path, pictures: Path, prefix: str, origin: str, run: Run | None = None) -> NotebookPage:
    """Read an executed notebook, and write its pictures as <prefix>-<number> to the folder `pictures`, compressed.

    A figure that the folder of `run` has all data of is drawn from it, not taken from the notebook, and is an SVG too.
    `origin` is the end of each alternative text. Raises UsageError if there is no readable notebook, or if a picture
    has no description.
    """
    try:
        with reading(file):
            book = nbformat.read(file, as_version=4)
    except UsageError as error:
        raise UsageError(
            f"run {file.parent.name} has no executed notebook, which its page needs: leave the run out"
        ) from error
    heading = ""
    if book.cells and book.cells[0].cell_type == "markdown":
        heading, _, book.cells[0].source = book.cells[0].source.partition("\n\n")
    highlight, numbers = Highlight2HTML(), count(1)
    pictures.mkdir(parents=True, exist_ok=True)
    cells = []
    for cell in book.cells:
        if cell.cell_type != "code":
            text = markdown_html(cell.source) if cell.cell_type == "markdown" else f"<pre>{escape(cell.source)}</pre>"
            cells.append(Cell(text))
            continue
        outputs, shown, (calls, _) = [], count(), _figure_calls(cell.source)
        for output in cell.outputs:
            kind = shown_type(output)
            if kind in PICTURE_TYPES:
                target, number = pictures / f"{prefix}-{next(numbers)}.{PICTURE_TYPES[kind]}", next(shown)
                alt = f"{cell.metadata.get('alt') or figure_description(cell.source, number)} {origin}"
                drawn = redraw(calls[number], run) if run is not None and number < len(calls) else None
                if isinstance(drawn, figures.HeatTable):
                    outputs.append(Output(drawn._repr_html_()))
                    continue
                made = (
                    _write_picture(output.data[kind], target, alt)
                    if drawn is None
                    else draw_picture(drawn, target, alt)
                )
                outputs.append(Output(picture=made))
            elif kind:
                outputs.append(_text_output(output, kind))
        cells.append(Cell(highlight(cell.source), code=True, outputs=outputs))
    title = re.search(r"^# (.+)$", heading, re.MULTILINE)
    return NotebookPage(title.group(1) if title else file.parent.name, markdown_html(heading), cells)


def shown_type(output: Any) -> str:
    """Return which data of an output a page shows: a MIME type, or "stream" or "error"; "" if there is none."""
    if output.output_type in ("stream", "error"):
        return str(output.output_type)
    return next((kind for kind in SHOWN_TYPES if kind in output.data), "")


def _text_output(output: Any, kind: str) -> Output:
    if kind == "error":
        return Output(escape(f"{output.ename}: {output.evalue}"), preformatted=True, error=True)
    if kind == "text/html":
        return Output(output.data[kind])
    if kind == "text/markdown":
        return Output(markdown_html(output.data[kind]))
    return Output(ansi2html(output.text if kind == "stream" else output.data[kind]), preformatted=True)


def _write_picture(content: str, file: Path, alt: str) -> Picture:
    address = f"{file.parent.name}/{file.name}"
    if file.suffix == ".svg":
        file.write_text(content, encoding="utf-8")
        return Picture(address, alt)
    width, height = _write_png(base64.b64decode(content), file)
    return Picture(address, alt, width, height)


def draw_picture(figure: Figure, file: Path, alt: str) -> Picture:
    """Write a figure as an SVG with colours for a light and a dark page, or as a PNG where the SVG would be large."""
    content, folder = figures.figure_svg(figure, dark=True), file.parent.name
    if len(content) <= MAX_SVG_BYTES:
        svg = file.with_suffix(".svg")
        svg.write_bytes(content)
        width, height = (round(inches * figure.dpi) for inches in figure.get_size_inches())
        return Picture(f"{folder}/{svg.name}", alt, width, height, themed=True)
    png, drawn = file.with_suffix(".png"), io.BytesIO()
    figure.savefig(drawn, format="png")
    width, height = _write_png(drawn.getvalue(), png)
    return Picture(f"{folder}/{png.name}", alt, width, height)


def _write_png(content: bytes, file: Path) -> tuple[int, int]:
    """Write a picture with few colours; return its width and height."""
    picture = Image.open(io.BytesIO(content))
    picture.convert("RGB").quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return picture.size


def figure_description(source: str, number: int = 0) -> str:
    """Return what a figure of a cell shows: the first sentence of its function's docstring.

    The figures of a cell are counted by `number` in the order of their calls; the last one stands for those after it.
    Raises UsageError if the cell does not end with a call of a function of `figures` that has a docstring, which may be
    an argument of another call, such as `show_figure`.
    """
    calls, ends_with_one = _figure_calls(source)
    if not ends_with_one:
        raise UsageError(
            f"the picture of the cell that ends with {source[-60:]!r} has no description: "
            "end the cell with a function of gptoss_bench.figures, or set `alt` in the metadata of the cell"
        )
    text = getattr(figures, calls[min(number, len(calls) - 1)]).__doc__
    first_sentence = re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0].removeprefix("Draw ")
    return first_sentence[:1].upper() + first_sentence[1:]


def _figure_calls(source: str) -> tuple[list[str], bool]:
    """Return the functions of `figures` that a cell calls, in order, and whether its last statement calls one."""
    try:
        body = ast.parse(source).body
    except (SyntaxError, ValueError):
        body = []
    calls = [(node, name) for statement in body for node in ast.walk(statement) if (name := _figure_name(node))]
    calls.sort(key=lambda call: (getattr(call[0], "lineno", 0), getattr(call[0], "col_offset", 0)))
    last = body[-1] if body and isinstance(body[-1], ast.Expr) else None
    return [name for _, name in calls], last is not None and any(map(_figure_name, ast.walk(last)))


def _figure_name(node: ast.AST) -> str:
    """Return the function of `figures` that a node calls and that has a docstring, "" if it calls none."""
    called = node.func if isinstance(node, ast.Call) else None
    if isinstance(called, ast.Attribute) and isinstance(called.value, ast.Name) and called.value.id == "readings":
        return ""
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    name = PANEL_FIGURES.get(name, name)
    function = getattr(figures, name) if name in figures.__all__ else None
    return name if inspect.isfunction(function) and function.__doc__ else ""
