"""Show a figure in a notebook with the sentences that read it, from its own numbers."""

from matplotlib.figure import Figure

from gptoss_bench.runs import Manifest


def show_figure(figure: Figure, reading: str, manifest: Manifest) -> None:
    """Show a figure, and below it `reading`; the labels of the run, such as TINY MODEL, come first."""
    from IPython.display import Markdown, display

    label = f"**{', '.join(manifest.labels)}:** " if manifest.labels else ""
    display(figure, Markdown(f"{label}{reading}"))  # type: ignore[no-untyped-call]
