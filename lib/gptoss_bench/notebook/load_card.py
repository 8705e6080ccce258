"""Show one load in the run panel: its live view, a Stop button, and its result when it has ended."""

import asyncio
from html import escape
from pathlib import Path
from time import monotonic
from typing import Any, ClassVar

from gptoss_bench.figures import figure_html, waiting_from_due
from gptoss_bench.notebook.follower import POLL_S, RunFollower
from gptoss_bench.notebook.live_view import RED, alert_html, render_live_view
from gptoss_bench.runs import LoadSummary, Run
from gptoss_bench.session import LoadProcess, RunProgress, clock
from gptoss_bench.stats import open_loop_text, result_block
from gptoss_client import UsageError

OVERLAP_WARNING = "Another load ran at the same time: each disturbs the measurement of the other."


class LoadCard:
    """One load with its live view and Stop button; `box` is the widget, which may be displayed more than once.

    All cards of this kernel are kept, so that a new panel also shows the loads started before it.
    """

    all_cards: ClassVar[list["LoadCard"]] = []

    def __init__(self, load: LoadProcess) -> None:
        # Following a load needs a running event loop.
        import ipywidgets as w

        self.load = load
        self._overlapped = False
        self._view = w.HTML()
        self._stop = w.Button(description="Stop", tooltip=f"stop {load.run_id}; completed requests are saved")
        self._stop.on_click(self._request_stop)
        self._remove = w.Button(description="Remove", tooltip=f"remove this card; the run {load.run_id} stays on disk")
        self._remove.on_click(self._remove_card)
        self.box = w.VBox([self._view, self._stop], layout=w.Layout(border="1px solid #8886", padding="6px"))
        LoadCard.all_cards.append(self)
        self.following = asyncio.get_running_loop().create_task(self._follow())

    @staticmethod
    def under(results: Path) -> list["LoadCard"]:
        """Return the cards whose runs are under `results`, the newest first."""
        folder = results.absolute() / "runs"
        return [card for card in reversed(LoadCard.all_cards) if card.load.path.parent == folder]

    async def _follow(self) -> None:
        """Redraw twice a second until the load has ended, then replace the button by the result."""
        load = self.load
        follower, progress, began_s = RunFollower(load.path, load.plan), RunProgress(load.path, load.plan), monotonic()
        while (ended := load.ended) is None:
            self._overlapped = self._overlapped or load.another_is_running
            view, title, doing = await asyncio.to_thread(lambda: (follower.poll(), self._title(), progress.text()))
            status = "stopping" if self._stop.disabled else f"{clock(monotonic() - began_s)}  {doing}"
            self._view.value = render_live_view(view, title, status) + self._warning()
            await asyncio.sleep(POLL_S)
        status = ending_text(ended.status, ended.message)
        try:
            run = await asyncio.to_thread(Run.load, load.path)
            view = await asyncio.to_thread(follower.final_view, run)
            self._view.value = (
                render_live_view(view, run_title(run), status, ended=True) + self._warning() + result_block_html(run)
            )
        except UsageError:  # the load was refused before its folder was created
            self._view.value = f"<b>{escape(load.run_id)}</b> {alert_html(status)}"
        self.box.children = (self._view, self._remove)

    def _title(self) -> str:
        try:
            return run_title(Run.load(self.load.path))
        except UsageError:  # no manifest yet
            return self.load.run_id

    def _warning(self) -> str:
        return f'<div style="color:{RED}">{OVERLAP_WARNING}</div>' if self._overlapped else ""

    def _remove_card(self, _: Any) -> None:
        LoadCard.all_cards.remove(self)
        self.box.layout.display = "none"

    def _request_stop(self, _: Any) -> None:
        self._stop.disabled = True
        self.load.stop()


def run_title(run: Run) -> str:
    """Return the run id, after the label of the run."""
    labels = ", ".join(run.manifest.labels)
    return f"{labels}: {run.run_id}" if labels else run.run_id


def ending_text(how: str, reason: str | None) -> str:
    """Return how a load ended, and why."""
    return how if reason is None else reason if reason.startswith(how) else f"{how}: {reason}"


def result_block_html(run: Run) -> str:
    """Return the result block of a run as HTML, of an open loop with its figure; empty if nothing was measured."""
    if not isinstance(run.summary, LoadSummary):
        return ""
    text = result_block(run.summary, title_line=run_title(run))
    block = f'<pre style="font-size:12px;line-height:1.3;overflow:auto">{escape(text)}</pre>'
    if run.summary.rate_planned is None or not (waiting := open_loop_text(run.requests)):
        return block
    return block + figure_html(waiting_from_due(run.requests, run.manifest), waiting)
