"""The run panel of explore.ipynb: choose a server and a load, start it, watch it, stop it.

The load runs in a process of its own (load_process.py). Without a frontend there are no controls: the load is run to
its end, and what the live view showed last stands where it was.
"""

import asyncio
from html import escape
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.errors import UsageError
from gptoss_bench.frame import RED
from gptoss_bench.live import Follower
from gptoss_bench.live_html import live_html
from gptoss_bench.load_process import LoadProcess, Server
from gptoss_bench.plan import Plan
from gptoss_bench.profile import read_profile
from gptoss_bench.report import result_block
from gptoss_bench.store import Run
from gptoss_bench.widgets_fit import has_frontend

LOOK_S = 0.5
ENGINES = {
    "embedded engine, tiny model": "embedded",
    "a server that runs, at the URL": "url",
    "start Ollama": "ollama",
    "start vLLM": "vllm",
    "start transformers": "transformers",
}
NO_PROFILE = "(none)"


async def run_panel(
    plan: Plan, server: Server, *, results_dir: str = "", run_id: str = "", live: bool | None = None
) -> Any:
    """The panel, filled in with these, where there is a frontend (or `live`); else run the load and show its last view.

    Without a frontend it raises UsageError and RunFailed as the load does, and the run is `run_id`.
    """
    results = Path(results_dir) if results_dir else paths.RESULTS
    if has_frontend() if live is None else live:
        return Panel(plan, server, results).box
    from IPython.display import HTML

    load = LoadProcess(plan, server, results=results, run_id=run_id)
    follower, waiting = Follower(load.path, plan), asyncio.create_task(load.wait())
    while not waiting.done():
        await asyncio.wait([waiting], timeout=LOOK_S)
        follower.look()
    run = await waiting
    still = live_html(follower.end(run), _title(run.run_id, run.manifest), "complete")
    return HTML(still + _block(run))  # type: ignore[no-untyped-call]


class Panel:
    """The controls, and below them a card for each load that was started; `box` is what a cell shows."""

    def __init__(self, plan: Plan, server: Server, results: Path) -> None:
        """Build the controls, filled in with a plan and a server."""
        import ipywidgets as w  # a headless run does without it

        wide = {"style": {"description_width": "9em"}, "layout": w.Layout(width="26em")}
        chosen = "url" if server.url else server.engine or "embedded"
        count = plan.requests if plan.requests is not None else plan.duration_s
        by = "requests" if plan.requests is not None else "seconds"
        profiles = [NO_PROFILE, *sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))]
        self._results = results
        self.profile = w.Dropdown(options=profiles, description="profile", **wide)
        self.engine = w.Dropdown(options=ENGINES, value=chosen, description="engine", **wide)
        self.url = w.Text(value=server.url, placeholder="http://127.0.0.1:8000", description="URL", **wide)
        self.model = w.Text(value=server.model, placeholder="the only one there is", description="model", **wide)
        self.prompt = w.Textarea(value=plan.prompt, description="prompt", rows=2, **wide)
        self.prompts = w.Dropdown(options=["fixed", "distinct"], value=plan.prompts, description="prompts", **wide)
        self.concurrency = w.IntText(value=plan.concurrency, description="concurrency", **wide)
        self.count = w.FloatText(value=count, description="length", **wide)
        self.by = w.Dropdown(options=["requests", "seconds"], value=by, description="length is in", **wide)
        self.warmup = w.IntText(value=plan.warmup, description="warm-up requests", **wide)
        self.max_tokens = w.IntText(value=plan.max_tokens, description="max. tokens", **wide)
        self.start = w.Button(description="Start", button_style="primary", tooltip="run this load")
        self.words = w.HTML()
        self.cards = w.VBox()
        self.following: set[asyncio.Task[None]] = set()
        columns = (
            [self.profile, self.engine, self.url, self.model, self.prompt, self.prompts],
            [self.concurrency, self.count, self.by, self.warmup, self.max_tokens],
        )
        form = w.HBox([w.VBox(column) for column in columns], layout=w.Layout(flex_flow="row wrap"))
        self.box = w.VBox([form, w.HBox([self.start, self.words]), self.cards])
        self.profile.observe(self._fill_in, names="value")
        self.start.on_click(self._start)

    def plan(self) -> Plan:
        """What the controls say. Raises UsageError where that makes no sense."""
        count = self.count.value
        by_requests = self.by.value == "requests"
        if by_requests and count != int(count):
            raise UsageError(f"the number of requests must be whole, not {count:g}")
        return Plan(
            concurrency=self.concurrency.value,
            requests=int(count) if by_requests else None,
            duration_s=None if by_requests else count,
            warmup=self.warmup.value,
            prompt=self.prompt.value,
            prompts=self.prompts.value,
            max_tokens=self.max_tokens.value,
        )

    def server(self) -> Server:
        """The server that is chosen. Raises UsageError where the URL is missing."""
        match self.engine.value:
            case "embedded":
                return Server()
            case "url":
                if not self.url.value.strip():
                    raise UsageError("give the URL of the server, such as http://127.0.0.1:8000")
                return Server(url=self.url.value.strip(), model=self.model.value.strip())
        return Server(model=self.model.value.strip(), engine=self.engine.value)

    def _start(self, _: Any) -> None:
        try:
            load = LoadProcess(self.plan(), self.server(), results=self._results)
        except UsageError as error:
            self.words.value = _red(str(error))
            return
        self.words.value = ""
        card = Card(load)
        self.cards.children = (card.box, *self.cards.children)
        task = asyncio.get_running_loop().create_task(card.follow())
        self.following.add(task)
        task.add_done_callback(self.following.discard)

    def _fill_in(self, change: dict[str, Any]) -> None:
        """Take over what a profile says of the controls; what it does not name stays."""
        if change["new"] == NO_PROFILE:
            return
        told = read_profile(paths.PROFILES / f"{change['new']}.yaml")
        for name in ("concurrency", "warmup", "max_tokens", "prompt", "prompts", "url", "model"):
            if name in told:
                getattr(self, name).value = told[name]
        if "requests" in told:
            self.count.value, self.by.value = told["requests"], "requests"
        if told.get("embedded") is True:
            self.engine.value = "embedded"
        elif told.get("url"):
            self.engine.value = "url"


class Card:
    """One load: its live view, and the button that stops it."""

    def __init__(self, load: LoadProcess) -> None:
        """Show a load that was just started."""
        import ipywidgets as w

        self._load = load
        self._view = w.HTML()
        self._stop = w.Button(description="Stop", tooltip=f"stop {load.run_id}; what has ended is kept")
        self._stop.on_click(self._stopped)
        self.box = w.VBox([self._view, self._stop], layout=w.Layout(border="1px solid #8886", padding="6px"))

    async def follow(self) -> None:
        """Redraw twice a second until the load has ended, then show its result in place of the button."""
        load = self._load
        follower = Follower(load.path, load.plan)
        while (ended := load.ended) is None:
            seen = await asyncio.to_thread(follower.look)
            self._view.value = live_html(seen, load.run_id, "stopping" if self._stop.disabled else "running")
            await asyncio.sleep(LOOK_S)
        words = _ended_words(ended.how, ended.words)
        try:
            run = await asyncio.to_thread(Run.load, load.path)
            seen = await asyncio.to_thread(follower.end, run)
            self._view.value = live_html(seen, _title(run.run_id, run.manifest), words) + _block(run)
        except UsageError:  # it was refused before there was a folder
            self._view.value = f"<b>{escape(load.run_id)}</b> {_red(words)}"
        self.box.children = (self._view,)

    def _stopped(self, _: Any) -> None:
        self._stop.disabled = True
        self._load.stop()


def _title(run_id: str, manifest: Any) -> str:
    return f"{manifest['label']}: {run_id}" if manifest.get("label") else run_id


def _ended_words(how: str, words: str | None) -> str:
    return how if words is None else words if words.startswith(how) else f"{how}: {words}"


def _red(words: str) -> str:
    return f'<span role="alert" style="color:{RED}">{escape(words)}</span>'


def _block(run: Run) -> str:
    """The result block of a run, where it has one."""
    if "ttft_s" not in run.summary:
        return ""
    text = result_block(run.summary, title_line=_title(run.run_id, run.manifest))
    return f'<pre style="font-size:11px;line-height:1.25;overflow:auto">{escape(text)}</pre>'
