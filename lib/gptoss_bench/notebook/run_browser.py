"""Show the runs on disk in explore.ipynb: a table, a comparison of chosen runs, and one request event by event.

Without a frontend it shows the table and a comparison of the newest two runs.
"""

import base64
import math
import re
from collections.abc import Hashable, Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from gptoss_bench import paths
from gptoss_bench.figures import figure_html, figure_svg, overlay_labels, request_timeline, runs_overlaid
from gptoss_bench.lint import differing_conditions
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.notebook.live_view import BLUE, RED, alert_html
from gptoss_bench.runs import (
    RUN_COLUMNS,
    LoadSummary,
    Run,
    filter_runs,
    request_events,
    request_stalls,
    response_body,
    runs_table,
)
from gptoss_bench.stats import MIN_WAVES, QUANTITY_WORDS, TOO_SHORT, ComparedResult, comparison_table
from gptoss_client import UsageError

SAME = "<p>All runs have the same parameters.</p>"
MAX_CHOICES = 40  # runs that can be ticked; the filter finds the others
STYLE = (
    "<style>.gptoss-table th, .gptoss-table td {padding: 2px 8px; white-space: nowrap; line-height: 1.4; "
    f"text-align: left !important}} .gptoss-mark {{color: {RED}; font-weight: bold}} "
    ".widget-html-content:has(.gptoss-table) {min-width: 0} "
    "[data-jp-theme-light=false] .gptoss-figure {filter: invert(.88) hue-rotate(180deg)}</style>"
)
MARKED = re.compile(r"<td>((?:\d+ error|CLIENT-BOUND|not readable)[^<]*)</td>")  # cells shown in red
MARKED_TEXT = re.compile(r"\d+ error|CLIENT-BOUND|not readable")
# Columns of the list and their widths in em: what matters first, what is long last.
SHOWN = {
    "ttft_p50_s": 4.2,
    "itl_p50_ms": 4.2,
    "output_tok_s": 4.5,
    "concurrency": 5.6,
    "completed": 6.6,
    "failed": 3.4,
    "status": 5.6,
    "label": 8,
    "client_bound": 8.8,
    "lint": 8,
    "model": 9,
    "engine": 7,
    "verdicts": 12,
}
NAME_WIDTH = "18em"
NAME = {"width": NAME_WIDTH, "flex": "0 0 auto"}
ROW = {"overflow": "visible", "min_width": "max-content", "flex": "0 0 auto"}
HEADINGS = {
    "run": "time",
    "ttft_p50_s": "TTFT p50, s",
    "ttft_p99_s": "TTFT p99, s",
    "itl_p50_ms": "ITL p50, ms",
    "itl_p99_ms": "ITL p99, ms",
    "output_tok_s": "tok/s",
    "concurrency": "streams",
    "offered_req_s": "requests/s due",
    "output_tok_s_total": "tok/s, whole run",
    "lint": "findings",
    "client_bound": "client",
    **{name: name for name in ("scenario", "completed", "failed", "status", "label", "model", "engine", "verdicts")},
}
# The comparison has times between tokens in ms, as the list has.
IN_MS = {"itl_s": "ITL, ms", "tpot_s": "TPOT, ms"}
COMPARED = {"first": "baseline", "other": "this run", "interval": "95 % interval", "word": "result"}
MAX_BODY_CHARACTERS = 4000  # shown; the download link has the whole body


def open_run_browser(results_dir: str = "") -> Any:
    """Return the browser of the runs under `results_dir`, or without a frontend a table and a comparison as HTML."""
    results = Path(results_dir) if results_dir else paths.RESULTS
    if has_frontend():
        return RunBrowser(results).box
    from IPython.display import HTML

    table = runs_table(results)
    newest = _with_requests(results, list(table["run"]))[:2]
    below = comparison_html(results, newest) + (request_html(results, newest[0], None) if newest else "")
    return HTML(runs_html(table) + below)  # type: ignore[no-untyped-call]


class RunBrowser:
    """The controls over one results folder; `box` is the widget."""

    def __init__(self, results: Path) -> None:
        import ipywidgets as w  # not needed without a frontend

        wide = {"style": {"description_width": "9em"}, "layout": w.Layout(width="26em")}
        self._w = w
        self._results = results
        self._table = runs_table(results)
        self.filter = w.Text(placeholder="words that a row must contain", description="filter", **wide)
        names = {HEADINGS.get(name, name): name for name in RUN_COLUMNS}
        self.sort_by = w.Dropdown(options=names, value="run", description="sort by", **wide)
        self.ascending = w.Checkbox(value=False, description="smallest first", indent=False)
        self.reload = w.Button(description="Read again", tooltip="read the runs on disk again")
        narrow = w.Layout(min_width="0", max_width="100%", overflow="auto")  # a wide table scrolls inside its cell
        # Checkboxes instead of a list: JupyterLab takes the arrow keys that a list needs.
        self.runs = w.VBox(layout=narrow)
        self._ticks: dict[str, Any] = {}
        self.save = w.HTML()
        self.baseline = w.Dropdown(options=[], description="compare with", **wide)
        self.request = w.IntText(description="request", tooltip="request_id in the first of the runs", **wide)
        self.chosen_row = w.HBox([self.baseline, self.request], layout=w.Layout(flex_flow="row wrap"))
        self.comparison, self.request_detail = w.HTML(layout=narrow), w.HTML(layout=narrow)
        hint = w.HTML(
            "Tick one run to open one of its requests, or several to compare them with the one that you choose below "
            f"(the first {MAX_CHOICES} runs are listed)."
        )
        controls = w.HBox(
            [self.filter, self.sort_by, self.ascending, self.reload], layout=w.Layout(flex_flow="row wrap")
        )
        self.box = w.VBox([controls, hint, self.runs, self.save, self.chosen_row, self.comparison, self.request_detail])
        for control in (self.filter, self.sort_by, self.ascending):
            control.observe(self._show, names="value")
        self.reload.on_click(self._read)
        self.baseline.observe(self._show_comparison, names="value")
        self.request.observe(self._show_request, names="value")
        self._show()

    def _read(self, _: Any = None) -> None:
        self._table = runs_table(self._results)
        self._show()

    def _show(self, _: Any = None) -> None:
        found = filter_runs(self._table, words=self.filter.value, by=self.sort_by.value, ascending=self.ascending.value)
        rows = [self._row(row) for row in found.head(MAX_CHOICES).to_dict("records")]
        head = self._w.HTML(_row_html([HEADINGS[name] for name in SHOWN], head=True), layout=self._w.Layout(**ROW))
        self.runs.children = [head, *rows]
        self.save.value = _link("runs.csv", "text/csv", found.to_csv(index=False))
        self._compare()

    def _row(self, row: Mapping[Hashable, Any]) -> Any:
        """Return the tick box and the numbers of a run in one row."""
        run_id = str(row["run"])
        numbers = self._w.HTML(_row_html([shown_value(name, row[name]) for name in SHOWN]))
        # The list scrolls, not each of its rows.
        return self._w.HBox([self._tick(run_id), numbers], layout=self._w.Layout(align_items="center", **ROW))

    def _tick(self, run_id: str) -> Any:
        """Return the checkbox of a run. It is made once, so that it stays ticked when the list is sorted."""
        if run_id not in self._ticks:
            tick = self._w.Checkbox(
                value=False, description=short_name(run_id), tooltip=run_id, indent=False, layout=NAME
            )
            tick.observe(self._compare, names="value")
            tick.run_id = run_id
            self._ticks[run_id] = tick
        return self._ticks[run_id]

    @property
    def ticks(self) -> list[Any]:
        """The checkboxes that are listed, from the top."""
        return [row.children[0] for row in self.runs.children[1:]]

    @property
    def chosen(self) -> list[str]:
        """Run ids that are ticked, from the top."""
        return [str(tick.run_id) for tick in self.ticks if tick.value]

    def _compare(self, _: Any = None) -> None:
        chosen, before = self.chosen, self.baseline.value
        self.baseline.unobserve(self._show_comparison, names="value")
        self.baseline.options = [(short_name(run_id), run_id) for run_id in chosen]
        self.baseline.value = before if before in chosen else chosen[0] if chosen else None
        self.baseline.observe(self._show_comparison, names="value")
        self._show_comparison()
        self._show_request()

    def _show_comparison(self, _: Any = None) -> None:
        base = self.baseline.value
        ordered = [base, *(run_id for run_id in self.chosen if run_id != base)] if base else []
        self.comparison.value = comparison_html(self._results, ordered) if len(ordered) > 1 else ""

    def _show_request(self, _: Any = None) -> None:
        chosen = self.chosen
        self.request_detail.value = request_html(self._results, chosen[0], self.request.value) if chosen else ""


def short_name(run_id: str) -> str:
    """Return day and time, scenario, and the last part of a run id, such as `11-27 05:53 explore 51327c`."""
    match = re.fullmatch(r"\d{4}(\d\d)(\d\d)T(\d\d)(\d\d)\d\dZ-(.+)-(\w+)", run_id)
    return "{}-{} {}:{} {} {}".format(*match.groups()) if match else run_id


def shown_value(name: str, value: Any) -> str:
    """Return a value of the table of runs as it is shown, rounded, with its unit where the heading has none."""
    if value is None or (isinstance(value, float) and math.isnan(value)):
        return ""
    if name.endswith("_p50_s") or name.endswith("_p99_s"):
        return f"{value:.3f}"
    if name.startswith("itl_") and value == 0:
        return "not res."  # one read brought both events of most gaps
    return f"{value:,.4g}" if isinstance(value, float) else str(value)


def _row_html(cells: Sequence[str], *, head: bool = False) -> str:
    """Return one row; every row has the same columns, so that they stand below each other."""
    offset = f"margin-left:{NAME_WIDTH};" if head else ""
    wrap = "normal" if head else "nowrap"
    spans = "".join(
        f'<span class="{"gptoss-mark" if MARKED_TEXT.match(cell) else ""}" title="{escape(cell)}" style="display:'
        f'inline-block;width:{width}em;overflow:hidden;text-overflow:ellipsis;vertical-align:bottom;white-space:{wrap};padding-right:.6em">'
        f"{escape(cell)}</span>"
        for cell, width in zip(cells, SHOWN.values(), strict=True)
    )
    weight = "font-weight:bold;line-height:1.2" if head else ""
    return f'{STYLE if head else ""}<div class="gptoss-row" style="white-space:nowrap;{offset}{weight}">{spans}</div>'


def runs_html(table: pd.DataFrame) -> str:
    """Return a table of runs and a link that saves it as CSV."""
    name = "runs.csv"
    return f"{_table_html(table)}{_link(name, 'text/csv', table.to_csv(index=False))}"


def comparison_html(results: Path, run_ids: Sequence[str]) -> str:
    """Return the differences of runs from the first and their distributions as HTML, or why they cannot be compared."""
    try:
        runs = {run_id: Run.load(results / "runs" / run_id) for run_id in run_ids}
    except UsageError as error:
        return alert_html(error)
    without = [run_id for run_id, run in runs.items() if run.requests.empty or not isinstance(run.summary, LoadSummary)]
    if without:
        return alert_html(f"{without[0]} has no requests to compare, or no summary")
    if len(runs) < 2:
        return ""
    found = comparison_table(
        {run_id: [ComparedResult(run.load_summary, run.manifest.start_utc)] for run_id, run in runs.items()}
    )
    requests = [run.requests for run in runs.values()]
    named = dict(zip(overlay_labels(list(runs)), requests, strict=True))
    figure = runs_overlaid(named, {run_id: run.manifest for run_id, run in runs.items()})
    intro = (
        f"<p>Medians, compared with the baseline {escape(short_name(next(iter(runs))))}, with 95 % intervals. "
        "Two single runs may differ by chance: three of each, made in turn, tell which is faster "
        "(<code>gptoss-bench load --repeats 3</code>).</p>"
    )
    if (found["word"].str.startswith(TOO_SHORT)).any():
        intro += (
            "<p>A wave is one request per stream. From one run, an interval of a median needs "
            f"{MIN_WAVES} waves, or more.</p>"
        )
    findings = differing_conditions((run_id, run.manifest) for run_id, run in runs.items())
    notes = [f"{one.severity}: {one.evidence} [{one.rule}]" for one in findings]
    notes += [
        f"{short_name(run_id)} is {run.manifest.status}: {run.manifest.reason or 'it did not end'}"
        for run_id, run in runs.items()
        if run.manifest.status != "complete"
    ]
    warnings = "".join(f"<p>{escape(note)}</p>" for note in notes)
    short = found["quantity"].isin(IN_MS)
    found.loc[short, ["first", "other"]] *= 1e3
    found["quantity"] = [IN_MS.get(name, QUANTITY_WORDS.get(name, name)) for name in found["quantity"]]
    found["run"] = [short_name(name) for name in found["run"]]
    found = found.rename(columns=COMPARED)
    differing = _differing(runs)
    on_top = "" if differing == SAME else f'<p><b style="color:{RED}">Not the same load.</b></p>{differing}'
    return on_top + warnings + intro + _table_html(found) + _picture(figure, "runs.svg") + (SAME if not on_top else "")


def request_html(results: Path, run_id: str, request_id: int | None) -> str:
    """Return one request of a run as HTML: its events, timeline and bytes, or why it cannot be shown.

    Without a `request_id` it is the first completed request.
    """
    try:
        run = Run.load(results / "runs" / run_id)
        if request_id is None:
            completed = run.requests[run.requests["outcome"] == "completed"]
            if completed.empty:
                return ""
            request_id = int(completed["request_id"].iloc[0])
        events, body = request_events(run, request_id), response_body(run, request_id)
        stalls = request_stalls(run, request_id)
    except UsageError as error:
        return alert_html(error)
    figure = request_timeline(events, request_id, run.manifest, stalls)
    name = f"{run_id}-request-{request_id}"
    text = body.decode("utf-8", "backslashreplace")
    shown = text[:MAX_BODY_CHARACTERS]
    if len(text) > len(shown):
        shown += f"\n… {len(text) - len(shown)} more characters"
    style, rows = "overflow:auto;max-height:18em", _table_html(events.drop(columns="raw"))
    return (
        f"{_picture(figure, f'{name}.svg')}"
        f'<details><summary>its events</summary><div style="{style}">{rows}</div></details>'
        f'<details><summary>its bytes</summary><pre style="{style}">{escape(shown)}</pre></details>'
        f"{_link(f'{name}.csv', 'text/csv', events.to_csv(index=False))} "
        f"{_link(f'{name}.txt', 'application/octet-stream', body)}"
    )


def _with_requests(results: Path, run_ids: Sequence[str]) -> list[str]:
    return [run_id for run_id in run_ids if (results / "runs" / run_id / "requests.parquet").exists()]


def _differing(runs: Mapping[str, Run]) -> str:
    """Return the parameters that differ between the runs: a comparison is fair if only one does."""
    table = pd.DataFrame({short_name(run_id): run.manifest.parameters for run_id, run in runs.items()}).drop(
        index="salt", errors="ignore"
    )
    rows = table[table.astype("string").fillna("").nunique(axis=1) > 1]
    if rows.empty:
        return SAME
    return "<p>Parameters that differ:</p>" + _table_html(rows.reset_index(names="parameter"))


def _table_html(table: pd.DataFrame) -> str:
    nullable = table.select_dtypes("Int32").columns  # pandas ignores `na_rep` here and writes <NA>
    html = (
        table.astype(dict.fromkeys(nullable, "string"))
        .fillna(dict.fromkeys(nullable, ""))
        .to_html(index=False, na_rep="", float_format=_number, border=0, justify="left", classes="gptoss-table")
    )
    html = MARKED.sub(r'<td class="gptoss-mark">\1</td>', html)
    return f'{STYLE}<div style="overflow:auto">{html}</div>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if abs(value) >= 1e4 else f"{value:.4g}"


def _picture(figure: Figure, name: str) -> str:
    return f"<div>{figure_html(figure, name)}</div>{_link(name, 'image/svg+xml', figure_svg(figure))}"


def _link(name: str, kind: str, content: str | bytes) -> str:
    data = base64.b64encode(content.encode() if isinstance(content, str) else content).decode()
    look = f"color:{BLUE};text-decoration:underline"
    return f'<a style="{look}" download="{escape(name)}" href="data:{kind};base64,{data}">save {escape(name)}</a>'
