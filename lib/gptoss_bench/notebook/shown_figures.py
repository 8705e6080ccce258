"""Show a figure in a notebook with the sentences that read it, from its own numbers."""

from matplotlib.figure import Figure

from gptoss_bench.figures import HeatTable
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.runs import Manifest

# JupyterLab's dark theme would have white boxes; the colours keep their hue.
DARK = (
    "<style>[data-jp-theme-light=false] .jp-RenderedImage img, [data-jp-theme-light=false] .jupyter-widgets img"
    "{filter:invert(.88) hue-rotate(180deg)}</style>"
)


def show_figure(figure: Figure | HeatTable, reading: str, manifest: Manifest | None = None) -> None:
    """Show a figure or a table, and below it `reading`; the labels of the run, such as TINY MODEL, come first.

    A figure of pyplot is closed, because an open one would be shown a second time at the end of its cell.
    """
    from IPython.display import HTML, Markdown, display
    from matplotlib import pyplot as plt

    label = f"**{', '.join(manifest.labels)}:** " if manifest and manifest.labels else ""
    theme = [HTML(DARK)] if has_frontend() else []  # type: ignore[no-untyped-call]
    if isinstance(figure, Figure):
        plt.close(figure)
    display(figure, Markdown(f"{label}{reading}"), *theme)  # type: ignore[no-untyped-call]
