from .build import build_site
from .page import PageFrame, markdown_cell, render_page
from .run_page import HourlyPrice, run_page_markdown

__all__ = [
    "HourlyPrice",
    "PageFrame",
    "build_site",
    "markdown_cell",
    "render_page",
    "run_page_markdown",
]
