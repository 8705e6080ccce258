"""Turn a figure into SVG: the same bytes for the same figure, on demand with colours for a dark page too."""

import base64
import colorsys
import io
import re
from html import escape

import matplotlib as mpl
from matplotlib.figure import Figure

PLACES = re.compile(r' (?:d|x|y)="[^"]*"')
FINE = re.compile(r"(\.\d)\d+")  # less than a tenth of a point is not seen
NO_METADATA = dict.fromkeys(("Creator", "Date", "Format", "Type"))
COLOUR = re.compile(r"(fill|stroke|stop-color): (#[0-9a-f]{6})")
GREY_SATURATION = 0.12  # below it a colour is a grey, which changes its lightness
DARK_PAPER, DARK_INK = 0.09, 0.9  # lightness of white and of black on a dark page
LEAST_LIGHTNESS = 0.6  # of a colour on a dark page


def figure_svg(figure: Figure, *, dark: bool = False) -> bytes:
    """Return a figure as an SVG file. With `dark` it has other colours where the reader prefers a dark page.

    Then its texts are texts, in a font of the reader, and not outlines: a quarter of the bytes.
    """
    file = io.BytesIO()
    with mpl.rc_context({"svg.hashsalt": "gptoss", "svg.fonttype": "none" if dark else "path"}):
        figure.savefig(file, format="svg", metadata=NO_METADATA)
    svg = PLACES.sub(lambda place: FINE.sub(r"\1", place[0]), file.getvalue().decode())
    return (_with_dark_colours(svg) if dark else svg).encode()


def figure_html(figure: Figure, alt: str) -> str:
    """Return a figure as an image within HTML; `alt` is its text for readers who do not see it."""
    data = base64.b64encode(figure_svg(figure)).decode()
    look = 'class="gptoss-figure" style="max-width:100%;background:white"'
    return f'<img alt="{escape(alt)}" {look} src="data:image/svg+xml;base64,{data}">'


def _with_dark_colours(svg: str) -> str:
    """Return the SVG with a style for dark pages: one rule for each colour that is used, as a fill or a stroke."""
    rules = "".join(
        f'[style*="{name}: {colour}"]{{{name}:{dark_colour(colour)} !important}}'
        for name, colour in sorted(set(COLOUR.findall(svg)))
    )
    head, tag, rest = svg.partition("<defs>")
    return f"{head}<style>@media screen and (prefers-color-scheme: dark){{{rules}}}</style>{tag}{rest}"


def dark_colour(colour: str) -> str:
    """Return the colour for a dark page: a grey is turned from light to dark, another colour is made light enough."""
    red, green, blue = (int(colour[at : at + 2], 16) / 255 for at in (1, 3, 5))
    hue, lightness, saturation = colorsys.rgb_to_hls(red, green, blue)
    if saturation < GREY_SATURATION or max(red, green, blue) - min(red, green, blue) < 0.04:
        lightness = DARK_PAPER + (1 - lightness) * (DARK_INK - DARK_PAPER)
    else:
        lightness = max(lightness, LEAST_LIGHTNESS)
    return "#" + "".join(f"{round(255 * part):02x}" for part in colorsys.hls_to_rgb(hue, lightness, saturation))
