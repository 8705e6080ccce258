"""Draw the figures of a run without a notebook from its folder, each with its title and the sentences that read it."""

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from matplotlib.figure import Figure

from gptoss_bench import readings
from gptoss_bench.runs import LoadSummary, Run
from gptoss_bench.site.notebook_cells import Cell, Output, draw_picture, figure_description
from gptoss_bench.site.redraw import MACHINE_TABLES, redraw
from gptoss_bench.site.render import escape_markdown, markdown_html
from gptoss_bench.stats import open_loop_text

MAX_DECODED = 5_000  # requests whose events are decoded for a figure; more take minutes


@dataclass(frozen=True, slots=True)
class RunFigure:
    """A figure of a load: its function in `figures`, its title, whether a run has its data, and what reads it."""

    name: str
    title: str
    has_data: Callable[[Run], bool]
    reading: Callable[[Run], str]


def _has_events(run: Run) -> bool:
    load = run.load_summary
    kept = (run.path / "events.parquet").exists() or load.requests <= MAX_DECODED
    return bool(load.itl_s.n) and kept


def _has_samples(run: Run) -> bool:
    return all((run.path / f"{name}.parquet").exists() for name in MACHINE_TABLES)


RUN_FIGURES = (
    RunFigure(
        "share_within_slo",
        "Requests within the SLO",
        lambda run: run.load_summary.capacity is not None,
        lambda run: readings.share_within_slo(run.load_summary),
    ),
    RunFigure(
        "waiting_from_due",
        "What a closed loop hides",
        lambda run: run.load_summary.rate_planned is not None and bool(run.load_summary.completed),
        lambda run: open_loop_text(run.requests),
    ),
    RunFigure(
        "latency_distributions",
        "First token, first answer token, end",
        lambda run: bool(run.load_summary.completed),
        lambda run: readings.latency_distributions(run.requests),
    ),
    RunFigure(
        "gap_distribution", "Between the tokens", _has_events, lambda run: readings.gap_distribution(run.load_summary)
    ),
    RunFigure(
        "throughput_against_latency",
        "Throughput against latency",
        lambda run: bool(run.load_summary.sweep),
        lambda run: readings.throughput_against_latency(run.load_summary.sweep),
    ),
    RunFigure(
        "client_against_server",
        "Client against server",
        lambda run: bool(run.load_summary.agreement),
        lambda run: readings.client_against_server(run.load_summary),
    ),
    RunFigure(
        "machine_timeline",
        "The machine during the run",
        _has_samples,
        lambda run: readings.machine_timeline({name: run.table(name) for name in MACHINE_TABLES}, run.load_summary),
    ),
)


def run_finding(run: Run) -> str:
    """Return what a load found, a line for each sentence with the labels of the run first; "" for another run."""
    if not isinstance(run.summary, LoadSummary):
        return ""
    found = readings.capacity_finding if run.summary.capacity else readings.load_finding
    return found(run.summary, run.manifest)


def figure_cells(run: Run, pictures: Path, prefix: str, origin: str) -> Iterator[Cell]:
    """Draw each figure that the folder of a load has the data of, and yield its cells: title, picture, reading.

    The pictures are written to the folder `pictures` as <prefix>-<number>; `origin` ends each alternative text.
    """
    if not isinstance(run.summary, LoadSummary):
        return
    pictures.mkdir(parents=True, exist_ok=True)
    label = f"**{', '.join(run.manifest.labels)}:** " if run.manifest.labels else ""
    for number, one in enumerate((each for each in RUN_FIGURES if each.has_data(run)), 1):
        drawn = redraw(one.name, run)
        assert isinstance(drawn, Figure)
        alt = f"{figure_description(f'figures.{one.name}()')} {origin}"
        made = draw_picture(drawn, pictures / f"{prefix}-{number}.png", alt)
        outputs = [Output(picture=made), Output(markdown_html(f"{label}{escape_markdown(one.reading(run))}"))]
        yield Cell(markdown_html(f"## {one.title}"), outputs=outputs)
