"""One page: the cells of a notebook in, HTML that asks for nothing and runs nothing out."""

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

COLOURS = 128  # of a picture: a figure has few, and a palette takes a third of the bytes
KINDS = {"image/png": "png", "image/svg+xml": "svg"}  # the first that an output has is shown
# What would run, or be fetched, when a page is opened.
RUNS = r"<(script|iframe|object|embed|base|audio|video)\b|<[^>]+\son\w+\s*=|<[^>]+\shref=\"?javascript:"
ASKS = re.compile(RUNS + r"|<[^>]+\s(src|srcset)=\"?(https?:)?//|<style[^>]*>[^<]*(@import|url\()", re.IGNORECASE)
# Markdown makes a link of an address of the machine that was measured: nobody else can follow it.
LOOPBACK = re.compile(r'<a href="https?://(?:127\.0\.0\.1|localhost)\b[^"]*">([^<]*)</a>')
HIDDEN = ("a", "title", "style", "head")  # elements whose text gets no link


@dataclass(frozen=True, slots=True)
class Frame:
    """What stands around the cells: the file's name, its title, the links above, a line below, a style of its own."""

    name: str
    title: str
    links: Sequence[tuple[str, str]] = ()
    foot: str = ""
    style: str = ""


def raw_html(html: str) -> Any:
    """A cell whose HTML stands on the page as it is."""
    return nbformat.v4.new_raw_cell(html)


def markdown_html(text: str) -> Any:
    """A cell of Markdown."""
    return nbformat.v4.new_markdown_cell(text)


def render_page(cells: Sequence[Any], frame: Frame, targets: Mapping[str, str] | None = None) -> str:
    """The page of these cells; each of the words of `targets` that stands in their text becomes a link.

    Raises RunFailed where the cells would run a script or ask a server for something.
    """
    shown = {"NbConvertBase": {"display_data_priority": ["text/html", *KINDS, "text/markdown", "text/plain"]}}
    basedirs = [str(paths.SITE_TEMPLATE.parent)]
    exporter = HTMLExporter(Config(shown), template_name="template", extra_template_basedirs=basedirs)
    exporter.exclude_input_prompt = exporter.exclude_output_prompt = True
    book = nbformat.v4.new_notebook(cells=list(cells))
    page, _ = exporter.from_notebook_node(book, resources={"page": frame})
    if found := ASKS.search(page):
        raise RunFailed(f"{frame.name} would not open without a network: it holds {found.group(0)!r}")
    page = LOOPBACK.sub(r"\1", page)
    page = page.replace("<table", '<div class="wide" tabindex="0"><table').replace("</table>", "</table></div>")
    return linked(page, targets or {})


def linked(html: str, targets: Mapping[str, str]) -> str:
    """The same HTML with each of the words, where it stands alone in the text, made a link to its target."""
    if not targets:
        return html
    words = re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, targets))})(?![\w-])")
    pieces, inside = re.split(r"(<[^>]*>)", html), ""
    for at, piece in enumerate(pieces):
        if piece.startswith("<"):
            name = piece.strip("</>").split()[0].lower() if piece.strip("</>") else ""
            if not inside and name in HIDDEN and not piece.startswith("</"):
                inside = name
            elif piece == f"</{inside}>":
                inside = ""
        elif not inside:
            pieces[at] = words.sub(lambda match: f'<a href="{targets[match[0]]}">{match[0]}</a>', piece)
    return "".join(pieces)


def title_of(book: Any) -> str:
    """The first heading of a notebook."""
    for cell in book.cells:
        if cell.cell_type == "markdown" and (found := re.search(r"^# (.+)$", cell.source, re.MULTILINE)):
            return str(found.group(1))
    return "A notebook"


def take_pictures(book: Any, folder: Path, prefix: str, about: str) -> list[dict[str, Any]]:
    """Write each picture of a notebook to `folder`, small, and say in its output where it lies and what it shows.

    Returns what was written, in order: "file" (relative to the folder above), "alt", and of a PNG "width" and "height"
    in pixels.
    """
    written: list[dict[str, Any]] = []
    heading = ""
    folder.mkdir(parents=True, exist_ok=True)
    for cell in book.cells:
        if cell.cell_type == "markdown":
            heading = (re.findall(r"^#+ (.+)$", cell.source, re.MULTILINE) or [heading])[-1]
        for output in cell.get("outputs", []):
            data = output.get("data", {})
            if kind := next((kind for kind in KINDS if kind in data), None):
                file = folder / f"{prefix}-{len(written) + 1}.{KINDS[kind]}"
                shown = {"file": f"{folder.name}/{file.name}"} | _small(data[kind], kind, file)
                written.append(shown | {"alt": f"{figure_question(cell.source) or heading} {about}".strip()})
                output.setdefault("metadata", {})["picture"] = written[-1]
    return written


def _small(content: str, kind: str, file: Path) -> dict[str, int]:
    """Write one picture; its width and height in pixels, where it has them."""
    if kind == "image/svg+xml":
        file.write_text(content, encoding="utf-8")
        return {}
    picture = Image.open(io.BytesIO(base64.b64decode(content)))
    picture.convert("RGB").quantize(COLOURS, dither=Image.Dither.NONE).save(file, optimize=True)
    return {"width": picture.width, "height": picture.height}


def figure_question(source: str) -> str:
    """What the figure that a cell ends with shows: the first sentence of its function in `figures`; else empty."""
    try:
        *_, last = ast.parse(source).body
    except (SyntaxError, ValueError):
        return ""
    call = last.value if isinstance(last, ast.Expr) else None
    called = call.func if isinstance(call, ast.Call) else None
    name = called.id if isinstance(called, ast.Name) else called.attr if isinstance(called, ast.Attribute) else ""
    text = getattr(figures, name).__doc__ if name in figures.__all__ else ""
    return re.split(r"(?<=[.?])\s", " ".join((text or "").split()), maxsplit=1)[0]


def badge_html(words: str, kind: str) -> str:
    """Words in a frame; `kind` is a verdict or a class of the style sheet."""
    return f'<span class="badge {kind.replace(" ", "-")}">{escape(words)}</span>'
