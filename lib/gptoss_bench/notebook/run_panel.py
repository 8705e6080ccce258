"""The run panel of explore.ipynb: choose a server and a load, start it, watch it, stop it.

The load runs in a process of its own (load_process.py). Without a frontend there are no controls: the load is run to
its end, and what the live view showed last stands where it was.
"""

import asyncio
import math
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.engines import ENGINE_SPECS, LAUNCHABLE_ENGINES, clean_url, understood_fields
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.notebook.follower import Follower
from gptoss_bench.notebook.live_view import render_live_view
from gptoss_bench.notebook.load_card import LOOK_S, LoadCard, alert, block, title
from gptoss_bench.notebook.profiles import read_profile
from gptoss_bench.session import LoadProcess, LoadTarget
from gptoss_client import LoadPlan, UsageError

ENGINES = {
    "embedded engine, tiny model": "embedded",
    "a server that runs, at the URL": "url",
    **{f"start {ENGINE_SPECS[name].title}": name for name in LAUNCHABLE_ENGINES},
}
NO_PROFILE = "(none)"
# What a profile is for, where its parameters do not say: the notebooks that it is made for know.
PROFILE_ENGINES = {"a10": "ollama", "h100": "vllm", "vllm-cpu": "vllm", "endpoint": "url"}
TAKEN = ("concurrency", "warmup", "max_tokens", "prompt", "prompts", "token_counts")
LAUNCHED = ("context", "prefix_caching", "engine_flags")


async def open_run_panel(
    plan: LoadPlan, server: LoadTarget, *, results_dir: str = "", run_id: str = "", live: bool | None = None
) -> Any:
    """The panel, filled in with these, where there is a frontend (or `live`); else run the load and show its last view.

    Without a frontend it raises UsageError and RunFailed as the load does, and the run is `run_id`.
    """
    results = Path(results_dir) if results_dir else paths.RESULTS
    if has_frontend() if live is None else live:
        return RunPanel(plan, server, results).box
    from IPython.display import HTML

    load = LoadProcess(plan, server, results=results, run_id=run_id)
    follower, waiting = Follower(load.path, plan), asyncio.create_task(load.wait())
    while not waiting.done():
        await asyncio.wait([waiting], timeout=LOOK_S)
        follower.look()
    run = await waiting
    still = render_live_view(follower.end(run), title(run), "complete")
    return HTML(still + block(run))  # type: ignore[no-untyped-call]


class RunPanel:
    """The controls, and below them a card for each load that this kernel started; `box` is what a cell shows.

    A panel that is made again, by running its cell once more, has the cards of the one before.
    """

    def __init__(self, plan: LoadPlan, server: LoadTarget, results: Path) -> None:
        """Build the controls, filled in with a plan and a server."""
        import ipywidgets as w  # a headless run does without it

        wide = {"style": {"description_width": "10em"}, "layout": w.Layout(width="34em", max_width="98%")}
        chosen = "url" if server.url else server.engine or "embedded"
        count = plan.requests if plan.requests is not None else plan.duration_s
        by = "requests" if plan.requests is not None else "seconds"
        profiles = [NO_PROFILE, *sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))]
        self._results = results
        self.profile = w.Dropdown(options=profiles, description="profile", **wide)
        self.engine = w.Dropdown(options=ENGINES, value=chosen, description="engine", **wide)
        self.url = w.Text(value=server.url, placeholder="http://127.0.0.1:8000", description="URL", **wide)
        self.model = w.Text(value=server.model, placeholder="the only one there is", description="model", **wide)
        self.prompt = w.Textarea(value=plan.prompt, description="prompt", rows=3, **wide)
        self.prompts = w.Dropdown(options=["fixed", "distinct"], value=plan.prompts, description="prompts", **wide)
        self.concurrency = w.IntText(value=plan.concurrency, description="concurrency", **wide)
        self.count = w.FloatText(value=count, description="length", **wide)
        self.by = w.Dropdown(options=["requests", "seconds"], value=by, description="length is in", **wide)
        self.warmup = w.IntText(value=plan.warmup, description="warm-up requests", **wide)
        self.max_tokens = w.IntText(value=plan.max_tokens, description="max. tokens", **wide)
        self.token_counts = w.Checkbox(value=plan.token_counts, description="token_counts in every event", **wide)
        self.context = w.IntText(value=server.context, description="context (0: its own)", **wide)
        caching = {"its own default": "", "on": "on", "off": "off"}
        self.prefix_caching = w.Dropdown(
            options=caching, value=server.prefix_caching, description="prefix caching", **wide
        )
        self.engine_flags = w.Text(value=server.engine_flags, description="engine's flags", **wide)
        self.start = w.Button(description="Start", button_style="primary", tooltip="run this load")
        self.words = w.HTML()
        self.cards = w.VBox([card.box for card in LoadCard.of(results)])
        of_server = (self.engine, self.url, self.model, self.context, self.prefix_caching, self.engine_flags)
        of_load = (self.prompt, self.prompts, self.concurrency, self.count, self.by, self.warmup, self.max_tokens)
        columns = ([self.profile, *of_server], [*of_load, self.token_counts])
        form = w.HBox([w.VBox(column) for column in columns], layout=w.Layout(flex_flow="row wrap"))
        self.box = w.VBox([form, w.HBox([self.start, self.words]), self.cards])
        self.profile.observe(self._fill_in, names="value")
        self.start.on_click(self._start)

    def plan(self) -> LoadPlan:
        """What the controls say. Raises UsageError where that makes no sense."""
        count = self.count.value
        by_requests = self.by.value == "requests"
        if not math.isfinite(count) or (by_requests and count != int(count)):
            raise UsageError(
                f"the number of {self.by.value} must be {'whole' if by_requests else 'one'}, not {count:g}"
            )
        kind = self.engine.value
        understood = understood_fields(kind)
        return LoadPlan(
            concurrency=self.concurrency.value,
            requests=int(count) if by_requests else None,
            duration_s=None if by_requests else count,
            warmup=self.warmup.value,
            prompt=self.prompt.value,
            prompts=self.prompts.value,
            max_tokens=self.max_tokens.value,
            token_counts=self.token_counts.value and (understood is None or "token_counts" in understood),
            options={"num_ctx": self.context.value} if kind == "ollama" and self.context.value else {},
        )

    def server(self) -> LoadTarget:
        """The server that is chosen. Raises UsageError where the URL is missing, or nothing is launched to be told."""
        model, kind = self.model.value.strip(), self.engine.value
        launch = {name: getattr(self, name).value for name in LAUNCHED}
        if kind in ("embedded", "url") and any(launch.values()):
            raise UsageError("context, prefix caching and flags are for an engine that is started: leave them empty")
        match kind:
            case "embedded":
                return LoadTarget()
            case "url":
                if not self.url.value.strip():
                    raise UsageError("give the URL of the server, such as http://127.0.0.1:8000")
                return LoadTarget(url=self._clean_url(), model=model)
        return LoadTarget(model=model, engine=kind, **launch)

    def _clean_url(self) -> str:
        try:
            return clean_url(self.url.value)
        except UsageError:
            if "@" in self.url.value:  # a password that stays in the field could be saved with the notebook
                self.url.value = ""
            raise

    def _start(self, _: Any) -> None:
        try:
            LoadCard(LoadProcess(self.plan(), self.server(), results=self._results))
        except UsageError as error:
            self.words.value = alert(str(error))
            return
        self.words.value = ""
        self.cards.children = [card.box for card in LoadCard.of(self._results)]

    def _fill_in(self, change: dict[str, Any]) -> None:
        """Take over what a profile says of the controls; of the load, what it does not name stays."""
        if change["new"] == NO_PROFILE:
            return
        try:
            reported = read_profile(paths.PROFILES / f"{change['new']}.yaml")
        except UsageError as error:
            self.words.value = alert(str(error))
            return
        for name in TAKEN:
            if name in reported:
                getattr(self, name).value = reported[name]
        if "requests" in reported:
            self.count.value, self.by.value = reported["requests"], "requests"
        self.url.value, self.model.value = reported.get("url", ""), reported.get("model", "")
        self.context.value, self.prefix_caching.value = reported.get("context", 0), reported.get("prefix_caching", "")
        self.engine_flags.value = reported.get("engine_flags", "")
        if reported.get("embedded") is True:
            self.engine.value = "embedded"
        else:
            self.engine.value = "url" if self.url.value else PROFILE_ENGINES.get(change["new"], self.engine.value)
