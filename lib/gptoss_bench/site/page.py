"""Render the cells of a notebook as one HTML page that runs no script and loads nothing from a server."""

import ast
import base64
import io
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any

import nbformat
from nbconvert import HTMLExporter
from PIL import Image
from traitlets.config import Config

from gptoss_bench import figures, paths
from gptoss_client import RunFailed

PALETTE_COLOURS = 128  # enough for a figure; a palette needs a third of the bytes
PICTURE_TYPES = {"image/png": "png", "image/svg+xml": "svg"}  # the first that an output has is shown
SCRIPTS = r"<(script|iframe|object|embed|base|audio|video)\b|<[^>]+\son\w+\s*=|<[^>]+\shref=\"?javascript:"
FORBIDDEN = re.compile(
    SCRIPTS + r"|<[^>]+\s(src|srcset)=\"?(https?:)?//|<style[^>]*>[^<]*(@import|url\()", re.IGNORECASE
)
# Markdown makes links of addresses of the measured machine, which no reader can open.
LOOPBACK_LINK = re.compile(r'<a href="https?://(?:127\.0\.0\.1|localhost)\b[^"]*">([^<]*)</a>')
UNLINKED_ELEMENTS = ("a", "title", "style", "head")  # their text gets no links


@dataclass(frozen=True, slots=True)
class PageFrame:
    """What surrounds the cells of a page: file name, title, (address, text) of the links above, footer, style."""

    name: str
    title: str
    links: Sequence[tuple[str, str]] = ()
    foot: str = ""
    style: str = ""


def html_cell(html: str) -> Any:
    """Return a cell whose HTML is copied to the page."""
    return nbformat.v4.new_raw_cell(html)


def markdown_cell(text: str) -> Any:
    """Return a cell of Markdown."""
    return nbformat.v4.new_markdown_cell(text)


def render_page(cells: Sequence[Any], frame: PageFrame, targets: Mapping[str, str] | None = None) -> str:
    """Return the HTML of a page; each word of `targets` in its text becomes a link.

    Raises RunFailed if the cells would run a script or load something from a server.
    """
    options = {"NbConvertBase": {"display_data_priority": ["text/html", *PICTURE_TYPES, "text/markdown", "text/plain"]}}
    basedirs = [str(paths.SITE_TEMPLATE.parent)]
    exporter = HTMLExporter(Config(options), template_name="template", extra_template_basedirs=basedirs)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    book = nbformat.v4.new_notebook(cells=list(cells))
    page, _ = exporter.from_notebook_node(book, resources={"page": frame})
    if found := FORBIDDEN.search(page):
        raise RunFailed(f"{frame.name} would not open without a network: it contains {found.group(0)!r}")
    page = LOOPBACK_LINK.sub(r"\1", page)
    page = page.replace("<table", '<div class="wide" tabindex="0"><table').replace("</table>", "</table></div>")
    return add_links(page, targets or {})


def add_links(html: str, targets: Mapping[str, str]) -> str:
    """Return the HTML with each whole word of `targets` in its text as a link."""
    if not targets:
        return html
    whole_word = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, targets))})(?![\w-])")
    pieces, inside = re.split(r"(<[^>]*>)", html), ""
    for at, piece in enumerate(pieces):
        if piece.startswith("<"):
            name = piece.strip("</>").split()[0].lower() if piece.strip("</>") else ""
            if not inside and name in UNLINKED_ELEMENTS and not piece.startswith("</"):
                inside = name
            elif piece == f"</{inside}>":
                inside = ""
        elif not inside:
            pieces[at] = whole_word.sub(lambda match: f'<a href="{targets[match[0]]}">{match[0]}</a>', piece)
    return "".join(pieces)


def notebook_title(book: Any) -> str:
    """Return the first heading of a notebook."""
    for cell in book.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return str(found.group(1))
    return "A notebook"


def extract_pictures(book: Any, folder: Path, prefix: str, origin: str) -> list[dict[str, Any]]:
    """Write each picture of a notebook to `folder`, compressed, and note its file and alt text in its output.

    Returns the pictures in order: "file" (relative to the parent of `folder`), "alt", and for a PNG "width" and
    "height" in pixels. `origin` is the end of each alt text.
    """
    written: list[dict[str, Any]] = []
    heading = ""
    folder.mkdir(parents=True, exist_ok=True)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if kind := next((kind for kind in PICTURE_TYPES if kind in data), None):
                file = folder / f"{prefix}-{len(written) + 1}.{PICTURE_TYPES[kind]}"
                description = figure_description(cell.source) or f"A figure of the section {heading}."
                alt = f"{description} {origin}"
                size = _write_picture(data[kind], kind, file)
                written.append({"file": f"{folder.name}/{file.name}"} | size | {"alt": alt})
                output.setdefault("metadata", {})["picture"] = written[-1]
    return written


def _write_picture(content: str, kind: str, file: Path) -> dict[str, int]:
    """Write one picture; return the width and height of a PNG in pixels."""
    if kind == "image/svg+xml":
        file.write_text(content, encoding="utf-8")
        return {}
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    picture.convert("RGB").quantize(PALETTE_COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return {"width": picture.width, "height": picture.height}


def figure_description(source: str) -> str:
    """Return what the figure at the end of a cell shows, from the docstring of its function; empty for other cells."""
    try:
        *_, last = ast.parse(source).body
    except (SyntaxError, ValueError):
        return ""
    call = last.value if isinstance(last, ast.Expr) else None
    called = call.func if isinstance(call, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    text = (getattr(figures, name).__doc__ or "") if name in figures.__all__ else ""
    first_sentence = re.split(r"(?<=\.)\s", " ".join(text.split()), maxsplit=1)[0].removeprefix("Draw ")
    return first_sentence[:1].upper() + first_sentence[1:]


def badge_html(text: str, kind: str) -> str:
    """Return a text in a coloured frame; `kind` is a verdict or a class of the style sheet."""
    return f'<span class="badge {kind.replace(" ", "-")}">{escape(text)}</span>'
