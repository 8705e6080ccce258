from .build import build_site
from .page import Frame, markdown_html, render_page
from .run_page import Price, run_page_markdown

__all__ = [
    "Frame",
    "Price",
    "build_site",
    "markdown_html",
    "render_page",
    "run_page_markdown",
]
