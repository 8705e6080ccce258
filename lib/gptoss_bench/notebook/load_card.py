"""A load in the run panel: its live view, its Stop button, and what is said of it when it has ended."""

import asyncio
from html import escape
from pathlib import Path
from typing import Any, ClassVar

from gptoss_bench.notebook.follower import Follower
from gptoss_bench.notebook.live_view import RED, render_live_view
from gptoss_bench.runs import Run
from gptoss_bench.session import LoadProcess
from gptoss_bench.stats import result_block
from gptoss_client import UsageError

LOOK_S = 0.5
BESIDE = "Another load ran beside this one: each disturbs the other's figures."


class LoadCard:
    """One load: its live view, and the button that stops it; `box` is what is shown, and may be shown twice.

    The cards of this kernel are kept, so that a panel that is made again shows what was started before it.
    """

    kept: ClassVar[list["LoadCard"]] = []

    def __init__(self, load: LoadProcess) -> None:
        """Show a load that was just started. Needs a running loop."""
        import ipywidgets as w

        self.load = load
        self._beside = False
        self._view = w.HTML()
        self._stop = w.Button(description="Stop", tooltip=f"stop {load.run_id}; completed requests are saved")
        self._stop.on_click(self._stopped)
        self.box = w.VBox([self._view, self._stop], layout=w.Layout(border="1px solid #8886", padding="6px"))
        LoadCard.kept.append(self)
        self.following = asyncio.get_running_loop().create_task(self._follow())

    @staticmethod
    def of(results: Path) -> list["LoadCard"]:
        """The cards of this kernel whose runs are under `results`, the newest first."""
        folder = results.absolute() / "runs"
        return [card for card in reversed(LoadCard.kept) if card.load.path.parent == folder]

    async def _follow(self) -> None:
        """Redraw twice a second until the load has ended, then show its result in place of the button."""
        load = self.load
        follower = Follower(load.path, load.plan)
        while (ended := load.ended) is None:
            self._beside = self._beside or load.beside
            seen, named = await asyncio.to_thread(lambda: (follower.look(), self._named()))
            words = "stopping" if self._stop.disabled else "running"
            self._view.value = render_live_view(seen, named, words) + self._doubt()
            await asyncio.sleep(LOOK_S)
        words = ended_words(ended.how, ended.words)
        try:
            run = await asyncio.to_thread(Run.load, load.path)
            seen = await asyncio.to_thread(follower.end, run)
            self._view.value = render_live_view(seen, title(run), words) + self._doubt() + block(run)
        except UsageError:  # it was refused before there was a folder
            self._view.value = f"<b>{escape(load.run_id)}</b> {alert(words)}"
        self.box.children = (self._view,)

    def _named(self) -> str:
        """Its name, after its label as soon as the server is known."""
        try:
            return title(Run.load(self.load.path))
        except UsageError:
            return self.load.run_id

    def _doubt(self) -> str:
        return f'<div style="color:{RED}">{BESIDE}</div>' if self._beside else ""

    def _stopped(self, _: Any) -> None:
        self._stop.disabled = True
        self.load.stop()


def title(run: Run) -> str:
    """The run's name, after the label of what is no measurement."""
    label = run.manifest.get("label")
    return f"{label}: {run.run_id}" if label else run.run_id


def ended_words(how: str, words: str | None) -> str:
    """How a load ended, and why."""
    return how if words is None else words if words.startswith(how) else f"{how}: {words}"


def alert(words: str) -> str:
    """Words that a reader of the screen is told at once."""
    return f'<span role="alert" style="color:{RED}">{escape(words)}</span>'


def block(run: Run) -> str:
    """The result block of a run, where it has one."""
    if "ttft_s" not in run.summary:
        return ""
    text = result_block(run.summary, title_line=title(run))
    return f'<pre style="font-size:12px;line-height:1.3;overflow:auto">{escape(text)}</pre>'
