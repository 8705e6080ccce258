"""Show what the workers of a load do now, a row each: on a terminal, in a notebook cell, or all in one line."""

import time
from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from gptoss_bench.runs import WorkerProgress

if TYPE_CHECKING:
    from rich.table import Table

COLUMNS = ("worker", "requests", "failed", "in flight", "tokens/s", "last answer", "state")
UNKNOWN = "–"


def workers_text(workers: Sequence[WorkerProgress], left: str = "") -> str:
    """Return in one line how many requests of all workers have ended, the time `left`, and which workers are gone."""
    planned = [worker.requests for worker in workers]
    total = "" if None in planned else f" of {sum(filter(None, planned))}"
    doing = f"{sum(worker.ended for worker in workers)}{total} requests{f', {left}' if left else ''}"
    if all(worker.gone or worker.state == "done" for worker in workers):
        doing = "computing tables and figures"
    gone = [f"worker {worker.index}: {worker.state}" for worker in workers if worker.gone]
    return "; ".join([f"{len(workers)} workers: {doing}", *gone])


def workers_table(workers: Sequence[WorkerProgress]) -> "Table":
    """Return a row per worker for a terminal; that of a worker that is gone is red."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for name in COLUMNS:
        table.add_column(name, justify="left" if name == "state" else "right")
    for worker in workers:
        table.add_row(*_cells(worker), style="red" if worker.gone else None)
    return table


def workers_html(workers: Sequence[WorkerProgress]) -> str:
    """Return a row per worker as an HTML table; that of a worker that is gone is red. Empty without workers."""
    if not workers:
        return ""
    right = "text-align:right;padding:0 8px"
    head = "".join(f'<th scope="col" style="{right}">{name}</th>' for name in COLUMNS)
    rows = []
    for worker in workers:
        colour = ' style="color:#e0314b;font-weight:bold"' if worker.gone else ""
        cells = "".join(f'<td style="{right}">{escape(cell)}</td>' for cell in _cells(worker))
        rows.append(f"<tr{colour}>{cells}</tr>")
    return f'<table class="gptoss-workers" style="font-size:13px"><tr>{head}</tr>{"".join(rows)}</table>'


def _cells(worker: WorkerProgress) -> Sequence[str]:
    return (
        str(worker.index),
        f"{worker.ended}{f' of {worker.requests}' if worker.requests is not None else ''}",
        str(worker.failed),
        str(worker.in_flight),
        UNKNOWN if worker.tok_s is None else f"{worker.tok_s:,.0f}",
        f"{max(0.0, time.monotonic() - worker.heard_s):.0f} s ago",
        worker.state,
    )
