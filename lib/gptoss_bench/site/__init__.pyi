from .build import build_site, with_evidence
from .page import PageFrame, markdown_cell, render_page
from .report import HourlyPrice, report_markdown

__all__ = [
    "HourlyPrice",
    "PageFrame",
    "build_site",
    "markdown_cell",
    "render_page",
    "report_markdown",
    "with_evidence",
]
