"""The results explorer of explore.ipynb: the runs on disk as a table, some of them compared, one request opened.

Without a frontend it is a still picture: the table, and the newest two runs compared.
"""

import base64
import io
import re
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gptoss_bench import paths
from gptoss_bench.figures import overlay_labels, request_timeline, runs_overlaid
from gptoss_bench.lint import comparison_side, differing_conditions
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.notebook.live_view import BLUE, RED
from gptoss_bench.runs import RUN_COLUMNS, Run, displayed_runs, raw_bytes, request_events, runs_table
from gptoss_bench.stats import SAME_MARGIN, comparison_table
from gptoss_client import UsageError

MOST_SHOWN = 40  # runs that can be ticked; the filter brings up others
LOOK = (
    "<style>.gptoss-table th, .gptoss-table td {padding: 2px 8px; white-space: nowrap; line-height: 1.4; "
    f"text-align: left !important}} .gptoss-table .gptoss-mark {{color: {RED}; font-weight: bold}} "
    ".widget-html-content:has(.gptoss-table) {min-width: 0}</style>"
)
MARKED = re.compile(r"<td>((?:\d+ error|CLIENT-BOUND|not readable)[^<]*)</td>")  # what a reader may not overlook
RAW_CHARS = 4000  # of a body that are shown; the link has all of it


def open_run_browser(results_dir: str = "", *, live: bool | None = None) -> Any:
    """The explorer of the runs under `results_dir` where there is a frontend (or `live`), else the still picture."""
    results = Path(results_dir) if results_dir else paths.RESULTS
    if has_frontend() if live is None else live:
        return RunBrowser(results).box
    from IPython.display import HTML

    table = runs_table(results)
    newest = _with_requests(results, list(table["run"]))[:2]
    below = comparison_view(results, newest) + (request_view(results, newest[0], None) if newest else "")
    return HTML(table_html(table) + below)  # type: ignore[no-untyped-call]


class RunBrowser:
    """The controls over one results folder; `box` is what a cell shows."""

    def __init__(self, results: Path) -> None:
        """Read the runs and show them all."""
        import ipywidgets as w  # a headless run does without it

        wide = {"style": {"description_width": "9em"}, "layout": w.Layout(width="26em")}
        self._results = results
        self._table = runs_table(results)
        self.words = w.Text(placeholder="words that a row has to have", description="filter", **wide)
        self.by = w.Dropdown(options=RUN_COLUMNS, value="run", description="sort by", **wide)
        self.ascending = w.Checkbox(value=False, description="smallest first", indent=False)
        self.again = w.Button(description="Read again", tooltip="read the runs on disk again")
        narrow = w.Layout(min_width="0", max_width="100%", overflow="auto")  # a wide table scrolls, the cell does not
        self.table = w.HTML(layout=narrow)
        # A list takes its arrow keys, which JupyterLab keeps for its cells; a box is ticked with the space bar.
        self.runs = w.VBox()
        self._box = w.Checkbox
        self._ticks: dict[str, Any] = {}
        self.request = w.IntText(description="request", tooltip="request_id in the first of the runs", **wide)
        self.request_row = w.HBox([self.request])
        self.comparison, self.timeline = w.HTML(layout=narrow), w.HTML(layout=narrow)
        hint = w.HTML(
            f"Tick one run to open a request of it, more to compare them with the first ({MOST_SHOWN} are listed)."
        )
        controls = w.HBox([self.words, self.by, self.ascending, self.again], layout=w.Layout(flex_flow="row wrap"))
        self.box = w.VBox([controls, self.table, hint, self.runs, self.comparison, self.request_row, self.timeline])
        for control in (self.words, self.by, self.ascending):
            control.observe(self._show, names="value")
        self.again.on_click(self._read)
        self.request.observe(self._open, names="value")
        self._show()

    def _read(self, _: Any = None) -> None:
        self._table = runs_table(self._results)
        self._show()

    def _show(self, _: Any = None) -> None:
        found = displayed_runs(self._table, words=self.words.value, by=self.by.value, ascending=self.ascending.value)
        self.table.value = table_html(found)
        self.runs.children = [self._tick(run_id) for run_id in found["run"].head(MOST_SHOWN)]
        self._chosen()

    def _tick(self, run_id: str) -> Any:
        """The box of one run, made once: a click on it counts also where the list is just being sorted anew."""
        if run_id not in self._ticks:
            tick = self._box(value=False, description=run_id, indent=False, layout={"width": "40em"})
            tick.observe(self._chosen, names="value")
            self._ticks[run_id] = tick
        return self._ticks[run_id]

    @property
    def chosen(self) -> list[str]:
        """The runs that are ticked, from the top."""
        return [str(tick.description) for tick in self.runs.children if tick.value]

    def _chosen(self, _: Any = None) -> None:
        chosen = self.chosen
        self.comparison.value = comparison_view(self._results, chosen) if len(chosen) > 1 else ""
        self._open()

    def _open(self, _: Any = None) -> None:
        chosen = self.chosen
        self.timeline.value = request_view(self._results, chosen[0], self.request.value) if chosen else ""


def table_html(table: pd.DataFrame) -> str:
    """A table of runs and the link that saves it as CSV."""
    name = "runs.csv"
    return f"{_plain(table)}{_link(name, 'text/csv', table.to_csv(index=False))}"


def comparison_view(results: Path, run_ids: Sequence[str]) -> str:
    """The differences of these runs from the first, and their figures overlaid; in words where that cannot be done."""
    try:
        runs = {run_id: Run.load(results / "runs" / run_id) for run_id in run_ids}
    except UsageError as error:
        return _alert(error)
    without = [run_id for run_id, run in runs.items() if run.requests.empty or "percentile_rule" not in run.summary]
    if without:
        return _alert(f"{without[0]} has no requests to compare, or was not summarised")
    if len(runs) < 2:
        return ""
    found = comparison_table({run_id: comparison_side(run) for run_id, run in runs.items()})
    requests = [run.requests for run in runs.values()]
    named = dict(zip(overlay_labels(list(runs)), requests, strict=True))
    figure = runs_overlaid(named, {run_id: run.manifest for run_id, run in runs.items()})
    first = (
        f"<p>Medians in seconds and tokens a second, each beside that of {escape(next(iter(runs)))}; 95 % intervals. "
        f"Within {SAME_MARGIN:.0%} is the same.</p>"
    )
    between = differing_conditions((run_id, run.manifest) for run_id, run in runs.items())
    doubts = "".join(f"<p>{escape(f'{one.severity}: {one.evidence} [{one.rule}]')}</p>" for one in between)
    return first + _plain(found) + doubts + _picture(figure, "runs.svg") + _differing(runs)


def request_view(results: Path, run_id: str, request_id: int | None) -> str:
    """One request of a run (None: its first completed one), event by event, down to its bytes; or why not, in words."""
    try:
        run = Run.load(results / "runs" / run_id)
        if request_id is None:
            completed = run.requests[run.requests["outcome"] == "completed"]
            if completed.empty:
                return ""
            request_id = int(completed["request_id"].iloc[0])
        events, body = request_events(run, request_id), raw_bytes(run, request_id)
    except UsageError as error:
        return _alert(error)
    figure = request_timeline(events, request_id, run.manifest)
    name = f"{run_id}-request-{request_id}"
    text = body.decode("utf-8", "backslashreplace")
    more = f"\n… {len(text) - RAW_CHARS} more characters" if len(text) > RAW_CHARS else ""
    style, rows = "overflow:auto;max-height:18em", _plain(events.drop(columns="raw"))
    return (
        f"{_picture(figure, f'{name}.svg')}"
        f'<details><summary>its events</summary><div style="{style}">{rows}</div></details>'
        f'<details><summary>its bytes</summary><pre style="{style}">{escape(text[:RAW_CHARS] + more)}</pre></details>'
        f"{_link(f'{name}.csv', 'text/csv', events.to_csv(index=False))} "
        f"{_link(f'{name}.txt', 'application/octet-stream', body)}"
    )


def _with_requests(results: Path, run_ids: Sequence[str]) -> list[str]:
    return [run_id for run_id in run_ids if (results / "runs" / run_id / "requests.parquet").exists()]


def _differing(runs: Mapping[str, Run]) -> str:
    """What was asked for differently: two runs are compared fairly where only one thing differs."""
    table = pd.DataFrame({run_id: run.manifest["parameters"] for run_id, run in runs.items()}).drop(
        index="salt", errors="ignore"
    )
    rows = table[table.astype("string").fillna("").nunique(axis=1) > 1]
    if rows.empty:
        return "<p>All were asked for with the same parameters.</p>"
    return "<p>Parameters that differ:</p>" + _plain(rows.reset_index(names="parameter"))


def _plain(table: pd.DataFrame) -> str:
    unknown = table.select_dtypes("Int32").columns  # pandas writes <NA> where `na_rep` should stand
    html = (
        table.astype(dict.fromkeys(unknown, "string"))
        .fillna(dict.fromkeys(unknown, ""))
        .to_html(index=False, na_rep="", float_format="{:.4g}".format, border=0, justify="left", classes="gptoss-table")
    )
    html = MARKED.sub(r'<td class="gptoss-mark">\1</td>', html)
    return f'{LOOK}<div style="overflow:auto">{html}</div>'


def _picture(figure: Figure, name: str) -> str:
    file = io.BytesIO()
    figure.savefig(file, format="svg")
    data = base64.b64encode(file.getvalue()).decode()
    image = f'<img alt="{escape(name)}" style="max-width:100%;background:white" src="data:image/svg+xml;base64,{data}">'
    return f"<div>{image}</div>{_link(name, 'image/svg+xml', file.getvalue())}"


def _link(name: str, kind: str, content: str | bytes) -> str:
    data = base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
    look = f"color:{BLUE};text-decoration:underline"
    return f'<a style="{look}" download="{escape(name)}" href="data:{kind};base64,{data}">save {escape(name)}</a>'


def _alert(words: object) -> str:
    return f'<p role="alert" style="color:{RED}">{escape(str(words))}</p>'
