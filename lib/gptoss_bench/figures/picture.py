"""Turn a figure into SVG: the same bytes for the same figure."""

import base64
import io
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure


def figure_svg(figure: Figure) -> bytes:
    """Return a figure as an SVG file."""
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "gptoss"}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def figure_html(figure: Figure, alt: str) -> str:
    """Return a figure as an image within HTML; `alt` is its text for readers who do not see it."""
    data = base64.b64encode(figure_svg(figure)).decode()
    look = 'class="gptoss-figure" style="max-width:100%;background:white"'
    return f'<img alt="{escape(alt)}" {look} src="data:image/svg+xml;base64,{data}">'
