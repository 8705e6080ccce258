"""Show the run panel of explore.ipynb: choose a server and a load, start it, watch it, stop it.

The load runs in a process of its own. Without a frontend there are no controls: the load runs to its end, and its last
live view is shown.
"""

import asyncio
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from html import escape
from pathlib import Path
from typing import Any, Literal, get_args

from gptoss_bench import paths
from gptoss_bench.engines import ENGINE_SPECS, LAUNCHABLE_ENGINES, ServerChoice, clean_url, understood_fields
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.notebook.follower import POLL_S, RunFollower
from gptoss_bench.notebook.live_view import alert_html, render_live_view
from gptoss_bench.notebook.load_card import LoadCard, result_block_html, run_title
from gptoss_bench.notebook.profiles import check_parameters, read_profile
from gptoss_bench.runs import STATED_LABELS, Run, Slo, new_repeat_group
from gptoss_bench.session import LoadProcess, check_workers
from gptoss_bench.stats import parse_slo, parse_sweep_levels, run_spreads, spreads_text
from gptoss_client import ARRIVALS, PROMPTS, LoadPlan, UsageError

ENGINES = {
    "embedded engine, tiny model": "embedded",
    "a running server, at the URL": "url",
    **{f"start {ENGINE_SPECS[name].title}": name for name in LAUNCHABLE_ENGINES},
}
SHAPES = {"closed loop: so many streams": "closed", "open loop: requests arrive at a rate": "open"}
SHAPE_FIELDS = {"closed": ("concurrency", "sweep"), "open": ("rate", "arrivals", "burstiness", "max_in_flight")}
PROMPT_FIELDS = {
    "fixed": ("prompt",),
    "distinct": ("prompt",),
    "synthetic": ("prompt_tokens",),
    "file": ("prompts_file",),
}
NO_PROFILE = "(none)"
# The engine that a profile is made for, because its parameters need not name one.
PROFILE_ENGINES = {
    "a10": "ollama",
    "h100": "vllm",
    "vllm-cpu": "vllm",
    "vllm-cpu-random": "vllm",
    "transformers-cpu-random": "transformers",
    "endpoint": "url",
}
PROFILE_LOAD_FIELDS = ("concurrency", "warmup", "max_tokens", "prompt", "prompts", "token_counts")
LAUNCH_FIELDS = ("context", "prefix_caching", "engine_flags")
ENGINE_FIELDS = ("url", "model", "label", "token_counts", *LAUNCH_FIELDS)  # not every engine has them
HIDEABLE_FIELDS = (
    *ENGINE_FIELDS,
    *(name for names in SHAPE_FIELDS.values() for name in names),
    *("prompt", "prompt_tokens", "prompts_file"),
)
SERVER_FIELDS = ("embedded", "url", "model", *LAUNCH_FIELDS)


async def open_run_panel(
    plan: LoadPlan,
    server: ServerChoice,
    *,
    results_dir: str = "",
    run_id: str = "",
    workers: int | Literal["auto"] = 1,
) -> Any:
    """Return the panel with these values, or without a frontend run the load as `run_id` and return its last view.

    `workers`: processes that send the load together; "auto": as many as a running server needs. Without a
    frontend it raises UsageError and RunFailed as the load does.
    """
    results = Path(results_dir) if results_dir else paths.RESULTS
    if has_frontend():
        return RunPanel(plan, server, results, str(workers)).box
    from IPython.display import HTML

    load = LoadProcess(plan, server, results=results, run_id=run_id, workers=str(workers))
    follower, waiting = RunFollower(load.path, plan), asyncio.create_task(load.wait())
    while not waiting.done():
        await asyncio.wait([waiting], timeout=POLL_S)
        follower.poll()
    run = await waiting
    view = render_live_view(follower.final_view(run), run_title(run), "complete", ended=True)
    return HTML(view + result_block_html(run))  # type: ignore[no-untyped-call]


class RunPanel:
    """The controls, and below them a card for each load of this kernel; `box` is the widget.

    A new panel, made by running its cell again, also shows the cards of the panels before it.
    """

    def __init__(self, plan: LoadPlan, server: ServerChoice, results: Path, workers: str = "1") -> None:
        import ipywidgets as w  # not needed without a frontend

        wide = {"style": {"description_width": "10em"}, "layout": w.Layout(width="34em", max_width="98%")}
        chosen = "url" if server.url else "embedded" if server.embedded else server.engine
        count = plan.requests if plan.requests is not None else plan.duration_s
        unit = "requests" if plan.requests is not None else "seconds"
        profiles = [NO_PROFILE, *sorted(file.stem for file in paths.PROFILES.glob("*.yaml"))]
        self._results = results
        self.repeating: asyncio.Task[None] | None = None  # the runs after the first
        shape = "open" if plan.rate is not None else "closed"
        self.profile = w.Dropdown(options=profiles, description="profile", **wide)
        self.engine = w.Dropdown(options=ENGINES, value=chosen, description="engine", **wide)
        self.url = w.Text(value=server.url, placeholder="http://127.0.0.1:8000", description="URL", **wide)
        self.model = w.Text(value=server.model, description="model", **wide)
        self.prompt = w.Textarea(value=plan.prompt, description="prompt", rows=3, **wide)
        self.prompts = w.Dropdown(options=PROMPTS, value=plan.prompts, description="prompts", **wide)
        self.prompt_tokens = w.Text(
            value=plan.prompt_tokens or "", placeholder="such as 512 or 100-1000", description="prompt tokens", **wide
        )
        self.prompts_file = w.Text(
            value=plan.prompts_file or "", placeholder="PROMPTS.jsonl", description="file of prompts", **wide
        )
        self.shape = w.Dropdown(options=SHAPES, value=shape, description="load", **wide)
        self.concurrency = w.IntText(value=plan.concurrency, description="concurrency", **wide)
        self.rate = w.Text(
            value=plan.rate or "", placeholder="such as 12 or 5:30,10:30", description="requests/s", **wide
        )
        self.arrivals = w.Dropdown(options=ARRIVALS, value=plan.arrivals, description="arrivals", **wide)
        self.burstiness = w.FloatText(value=plan.burstiness, description="burstiness", **wide)
        self.max_in_flight = w.IntText(value=plan.max_in_flight, description="max. in flight", **wide)
        self.length = w.FloatText(value=count, description="length", **wide)
        self.length_unit = w.Dropdown(options=["requests", "seconds"], value=unit, description="unit of length", **wide)
        self.warmup = w.IntText(value=plan.warmup, description="warm-up requests", **wide)
        self.max_tokens = w.IntText(value=plan.max_tokens, description="max. tokens", **wide)
        self.token_counts = w.Checkbox(
            value=plan.token_counts, description="ask for a token count in every event", **wide
        )
        self.context = w.IntText(value=server.context, description="context (0: default)", **wide)
        launch = ServerChoice.model_fields
        caching = {value or "the engine's default": value for value in get_args(launch["prefix_caching"].annotation)}
        self.prefix_caching = w.Dropdown(
            options=caching, value=server.prefix_caching, description="prefix caching", **wide
        )
        self.engine_flags = w.Text(value=server.engine_flags, description="engine flags", **wide)
        for name in SERVER_FIELDS[1:]:
            getattr(self, name).tooltip = launch[name].description
        stated = {"(none)": "", **{name: name for name in STATED_LABELS}}
        self.label = w.Dropdown(options=stated, value=server.label, description="label", **wide)
        self.sweep = w.Text(
            value=",".join(map(str, plan.sweep)), placeholder="such as 1,4,16", description="sweep, streams", **wide
        )
        self.slo = w.Text(placeholder="such as ttft=0.5s,tpot=30ms,e2e=10s", description="SLO", **wide)
        self.workers = w.Text(value=workers, placeholder="1, more, or auto", description="workers", **wide)
        self.repeats = w.IntText(value=1, description="repeats", **wide)
        self.start = w.Button(description="Start", button_style="primary", tooltip="run this load")
        self.message = w.HTML()
        self.cards = w.VBox([card.box for card in LoadCard.under(results)])
        of_server = (
            self.engine,
            self.url,
            self.model,
            self.label,
            self.context,
            self.prefix_caching,
            self.engine_flags,
        )
        asked = (self.prompts, self.prompt, self.prompt_tokens, self.prompts_file)
        sent = (
            self.shape,
            *(getattr(self, name) for names in SHAPE_FIELDS.values() for name in names),
            self.length,
            self.length_unit,
            self.warmup,
            self.max_tokens,
            self.slo,
            self.workers,
            self.repeats,
        )
        form = w.HBox(
            [w.VBox([self.profile, *of_server, *asked, self.token_counts]), w.VBox(sent)],
            layout=w.Layout(flex_flow="row wrap"),
        )
        self.box = w.VBox([form, w.HBox([self.start, self.message]), self.cards])
        for name in HIDEABLE_FIELDS:  # with a layout of its own each, to be hidden alone
            getattr(self, name).layout = w.Layout(width="34em", max_width="98%")
        self._connect((*asked, *sent))

    def _connect(self, of_load: Sequence[Any]) -> None:
        """React to the controls; `of_load` are those whose values are checked at once."""
        self._show_fields()
        for control in (self.engine, self.prompts, self.shape, self.arrivals):
            control.observe(self._show_fields, names="value")
        for control in of_load:
            control.observe(self._check, names="value")
        self.profile.observe(self._fill_in, names="value")
        self.start.on_click(self._start)

    def fields(self) -> set[str]:
        """Return the names of the fields that the chosen engine understands, of those that not all have."""
        kind = self.engine.value
        if kind == "url":
            return {"url", "model", "label", "token_counts"}
        if kind == "embedded":
            return {"token_counts"}
        spec = ENGINE_SPECS[kind]
        found = {"model", "context"}
        found |= {"prefix_caching"} if spec.has_prefix_caching_option else set()
        found |= {"engine_flags"} if spec.has_flags else set()
        return found | ({"token_counts"} if "token_counts" in (spec.request_fields or ()) else set())

    def _show_fields(self, _: Any = None) -> None:
        """Show only the fields of the chosen engine and of the chosen load; what the others hold is not used."""
        shown = self.fields() | {*SHAPE_FIELDS[self.shape.value], *PROMPT_FIELDS[self.prompts.value]}
        if self.arrivals.value != "gamma":
            shown -= {"burstiness"}
        for name in HIDEABLE_FIELDS:
            getattr(self, name).layout.display = None if name in shown else "none"
        spec = ENGINE_SPECS.get(self.engine.value)
        self.model.placeholder = (spec.default_model or "needed") if spec else "the only model of the server"

    def _check(self, _: Any = None) -> None:
        """Say in one line what is wrong with the load, as soon as a field of it has changed."""
        try:
            self.plan()
            self.limits()
            self.repeat_count()
            self.worker_text()
        except UsageError as error:
            self.message.value = alert_html(error)
        else:
            self.message.value = ""

    def plan(self) -> LoadPlan:
        """Return the load of the controls. Raises UsageError for an invalid value."""
        count = self.length.value
        by_requests = self.length_unit.value == "requests"
        if not math.isfinite(count) or (by_requests and count != int(count)):
            raise UsageError(
                f"the number of {self.length_unit.value} must be {'whole' if by_requests else 'finite'}, not {count:g}"
            )
        kind = self.engine.value
        understood = understood_fields(kind)
        rate = self.rate.value.strip()
        if self.shape.value == "open" and not rate:
            raise UsageError("give the requests/s of the open loop, such as 12, or choose a closed loop")
        shape: dict[str, Any] = {"sweep": parse_sweep_levels(self.sweep.value)}
        if self.shape.value == "open":
            gamma = self.arrivals.value == "gamma"
            shape = {
                "rate": rate,
                "arrivals": self.arrivals.value,
                "burstiness": self.burstiness.value if gamma else 1.0,
                "max_in_flight": self.max_in_flight.value,
            }
        for name in PROMPT_FIELDS[self.prompts.value]:
            if name != "prompt":
                shape[name] = getattr(self, name).value.strip() or None
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
            **shape,
        )

    def limits(self) -> Slo | None:
        """Return the limits that a good request meets, None without one. Raises UsageError for another text."""
        return parse_slo(self.slo.value) if self.slo.value.strip() else None

    def repeat_count(self) -> int:
        """Return how often the load runs. Raises UsageError for a number below 1."""
        if self.repeats.value < 1:
            raise UsageError(f"repeats must be 1 or more, not {self.repeats.value}")
        return int(self.repeats.value)

    def worker_text(self) -> str:
        """Return the number of workers or "auto". Raises UsageError for another text, or if they cannot share it."""
        found: str = self.workers.value.strip()
        check_workers(found, self.plan(), has_url=self.engine.value == "url")
        return found

    def server(self) -> ServerChoice:
        """Return the chosen server.

        Raises UsageError if the URL is missing.
        """
        model, kind = self.model.value.strip(), self.engine.value
        launch = {name: getattr(self, name).value for name in LAUNCH_FIELDS if name in self.fields()}
        match kind:
            case "embedded":
                return ServerChoice()
            case "url":
                if not self.url.value.strip():
                    raise UsageError("give the URL of the server, such as http://127.0.0.1:8000")
                return ServerChoice(url=self._clean_url(), model=model, label=self.label.value)
        return ServerChoice(model=model, engine=kind, **launch)

    def _clean_url(self) -> str:
        try:
            return clean_url(self.url.value)
        except UsageError:
            if "@" in self.url.value:  # a password left in the field could be saved with the notebook
                self.url.value = ""
            raise

    def _start(self, _: Any) -> None:
        try:
            plan, server, slo, repeats = self.plan(), self.server(), self.limits(), self.repeat_count()
            workers = self.worker_text()
            group = new_repeat_group(repeats)

            def begin(number: int) -> LoadCard:
                # The salt makes the prompts new to every cache, as those of the first run were; arrivals differ too.
                salted = replace(plan, salt=plan.salt + number, arrival_seed=plan.arrival_seed + number)
                load = LoadProcess(salted, server, results=self._results, slo=slo, repeat_group=group, workers=workers)
                card = LoadCard(load)
                self.cards.children = [each.box for each in LoadCard.under(self._results)]
                return card

            first = begin(0)
        except UsageError as error:
            self.message.value = alert_html(error)
            return
        self.message.value = ""
        if repeats > 1:
            self.repeating = asyncio.get_running_loop().create_task(self._repeat(first, begin, repeats))

    async def _repeat(self, card: LoadCard, begin: Callable[[int], LoadCard], repeats: int) -> None:
        """Begin each further run when the one before is complete; show the figures over all runs at the end."""
        cards = [card]
        try:
            for number in range(1, repeats + 1):
                self.message.value = f"run {number} of {repeats}"
                await cards[-1].following
                ended = cards[-1].load.ended
                if ended is None or ended.status != "complete":
                    self.message.value = f"run {number} of {repeats} did not complete: the others were not begun"
                    return
                if number < repeats:
                    cards.append(begin(number))
            runs = [Run.load(each.load.path).load_summary for each in cards]
        except UsageError as error:
            self.message.value = alert_html(error)
            return
        lines = escape("\n".join(spreads_text(run_spreads(runs))))
        self.message.value = f'<pre style="font-size:12px;line-height:1.3;overflow:auto">{lines}</pre>'

    def _fill_in(self, change: Mapping[str, str]) -> None:
        """Fill in the values of a profile; load fields that it does not name stay."""
        name = change["new"]
        if name == NO_PROFILE:
            return
        try:
            profile = read_profile(paths.PROFILES / f"{name}.yaml")
            names = (*PROFILE_LOAD_FIELDS, *SERVER_FIELDS, "requests", "workers")
            shown = {key: profile[key] for key in names if key in profile}
            values = check_parameters(shown, [dict.fromkeys(shown)], f"{name}.yaml")
        except UsageError as error:
            self.message.value = alert_html(error)
            return
        for key in PROFILE_LOAD_FIELDS:
            if key in values:
                getattr(self, key).value = values[key]
        if "concurrency" in values:
            self.shape.value = "closed"
        if "requests" in values:
            self.length.value, self.length_unit.value = values["requests"], "requests"
        self.workers.value = str(values.get("workers", self.workers.value))
        embedded = values.pop("embedded", False)
        for key in ("url", "model", *LAUNCH_FIELDS):
            getattr(self, key).value = values.get(key, ServerChoice.model_fields[key].default)
        if embedded:
            self.engine.value = "embedded"
        else:
            self.engine.value = "url" if self.url.value else PROFILE_ENGINES.get(name, self.engine.value)
