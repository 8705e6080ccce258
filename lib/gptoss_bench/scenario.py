"""What a notebook or the shell does to one server: start it, ask it, load it, and keep the run."""

import asyncio
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import agreement, engines, paths, probes, samples
from gptoss_bench.background import assert_no_lost_task, watch_background_tasks
from gptoss_bench.client import Ask, Client
from gptoss_bench.cpu_used import CpuUsed
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.error_bar import bar_words, ruler_of
from gptoss_bench.errors import RunFailed
from gptoss_bench.finding import Finding
from gptoss_bench.load import Progress, run_load
from gptoss_bench.plan import Plan, request_body
from gptoss_bench.rebuild import conclude, findings_document
from gptoss_bench.store import Run, RunFolder
from gptoss_bench.sweep_load import run_sweep
from gptoss_bench.trace import Trace
from gptoss_bench.witnesses import Witnesses, watching

STOPPED = "stopped before its end"


class Session:
    """One run against one server. `load` measures, `finish` writes; a session that never finishes is incomplete."""

    def __init__(self, folder: RunFolder, endpoint: Endpoint, witnesses: Witnesses) -> None:
        """Use `serving` to get one with an engine that is ready."""
        self.folder = folder
        self.endpoint = endpoint
        self.witnesses = witnesses
        self.findings: list[Finding] = []
        self.requests = pd.DataFrame()
        self.summary: dict[str, Any] = {}
        self._next_id = 0

    @property
    def manifest(self) -> dict[str, Any]:
        """Where and how this run is made; what a figure's footer is drawn from."""
        return self.folder.manifest

    @property
    def chunks(self) -> pd.DataFrame:
        """The event table of what was loaded, read from disk each time: it may be large."""
        return self.folder.tables()[1]

    @property
    def title(self) -> str:
        """Engine, model and run, and the label of what is no measurement, on one line."""
        label = f"{self.endpoint.label}: " if self.endpoint.label else ""
        return f"{label}{self.endpoint.model} with {self.endpoint.engine}, run {self.folder.run_id}"

    @property
    def findings_table(self) -> pd.DataFrame:
        """What makes the result untrustworthy, a row a finding, the gravest first."""
        return pd.DataFrame(findings_document(self.findings), columns=["severity", "rule", "evidence", "advice"])

    @property
    def agreement(self) -> pd.DataFrame:
        """Client against server, a row a quantity, with the error of each."""
        return agreement.table(self.summary.get("agreement", []))

    @property
    def machine_tables(self) -> dict[str, pd.DataFrame]:
        """What was sampled of "gpu", "host" and "server"; empty where there is none."""
        return self.witnesses.telemetry.tables

    async def probe(self) -> dict[str, Any]:
        """Ask the questions that decide claims about the server itself; the answers go into the summary."""
        self.summary["probes"] = await probes.probe(self.endpoint)
        return dict(self.summary["probes"])

    async def cold(self, plan: Plan) -> pd.Series:
        """Make an Ollama server drop its model, ask once, and return that request's row: the load is inside it.

        The summary gets "cold": the server's own load_s, and ttft_s from sending to the first token.
        """
        await engines.unload(self.endpoint)
        await self.witnesses.phase(samples.BEFORE)
        self.witnesses.telemetry.mark(samples.LOADING)
        body = request_body(plan, self.endpoint, 0)
        async with Client(self.endpoint, timeout_s=plan.timeout_s) as client:
            ask = Ask(self._next_id, "cold", 0, time.perf_counter_ns(), body)
            await client.ask(ask, self.folder.add)
        await self.witnesses.phase(samples.AFTER)
        self._next_id += 1
        row = self.folder.requests().iloc[-1]
        if row.outcome != "completed":
            raise RunFailed(f"the cold request failed ({row.failure}): {row.error}")
        self.summary["cold"] = {"load_s": _number(row.server_load_s), "ttft_s": _number(row.ttft_s)}
        return row

    async def load(self, plan: Plan, progress: Progress | None = None) -> dict[str, Any]:
        """Run the plan, then its sweep, and return the summary of both.

        Raises RunFailed where one of them is not whole; what ended is kept.
        """
        planned: list[int] = []
        complete: list[int] = []
        used, cpu_shares = CpuUsed(), dict[int, float | None]()

        def seen(trace: Trace) -> None:
            planned.append(trace.request_id)
            if trace.phase == "measure" and trace.ending == "complete":
                complete.append(trace.request_id)
            if progress is not None:
                progress(trace)

        async def marked(phase: str) -> None:
            if phase == "end":
                used.stop()
            await self.witnesses.load_phase(phase, len(complete))
            if phase == "measure":
                used.start()

        reason = STOPPED
        try:
            with self.folder.noting_clock_steps():
                keep, first_id = self.folder.add, self._next_id
                done = await run_load(plan, self.endpoint, keep, seen, first_id=first_id, on_phase=marked)
                reason = done.reason or ""
                if plan.sweep and complete and not reason:
                    self.witnesses.telemetry.mark(samples.SWEEP)
                    first_id = self._next_id + len(planned)
                    reason = "stopped in its sweep"
                    swept = run_sweep(plan, self.endpoint, self.folder, seen, first_id=first_id, cpu_shares=cpu_shares)
                    reason = await swept or ""
                    self.witnesses.telemetry.mark(samples.ENDED)
        finally:
            used.stop()
            self._next_id += len(planned)
            self.requests = self.folder.requests()
            self.summary |= self.witnesses.told()
            self.summary, self.findings = conclude(
                self.summary,
                self.requests,
                self.folder.columns,
                concurrency=plan.concurrency,
                cpu_s=used.cpu_s,
                cpu_share=used.cpu_share,
                manifest=self.manifest,
                sweep_cpu_shares=cpu_shares,
            )
            self.manifest["client"] = {
                "error_bar": bar_words(self.summary["client"]["error_bar"]),
                "bound": self.summary["client"]["bound"],
            }
            if reason:
                self._end("incomplete", reason)
        if not reason and self.summary["completed"] == 0:
            first = self.requests.error.dropna()
            reason = f"no request completed: {first.iloc[0] if len(first) else self.summary['failures']}"
            self._end("incomplete", reason)
        if reason:
            raise RunFailed(f"run {self.folder.run_id} is incomplete: {reason}")
        return self.summary

    def finish(self) -> Run:
        """Write the run and return it as it reads from disk. Raises RunFailed where a background task failed."""
        assert_no_lost_task()
        return self._end("complete", None)

    def _end(self, status: str, reason: str | None) -> Run:
        self.folder.document("lint", findings_document(self.findings))
        return self.folder.finish(self.summary, status, reason)


@asynccontextmanager
async def serving(
    scenario: str,
    engine: str,
    *,
    plan: Plan,
    url: str,
    model: str,
    embedded: bool = False,
    dialect: str | None = None,
    results_dir: str = "",
    run_id: str = "",
    command: str | None = None,
    context: int = 0,
    prefix_caching: str = "",
    engine_flags: str = "",
) -> AsyncIterator[Session]:
    """Open a run folder and a server that is ready: attached to at `url`, embedded, or launched as `engine`.

    `context` (0: the engine's own), `prefix_caching` and `engine_flags` are how an engine is launched, see
    `engines.Wish`; what Ollama has to load the model with is in the plan's options. The server is stopped when the
    block ends; the session can be finished after that. Raises UsageError where the folder or the server cannot be had.
    """
    watch_background_tasks()
    launch = {"context": context, "prefix_caching": prefix_caching, "engine_flags": engine_flags}
    parameters = {**asdict(plan), "engine": engine, "embedded": embedded, "url": url, "model": model, **launch}
    context = context or plan.options.get("num_ctx") or 0
    wish = engines.Wish(
        max(plan.concurrency, *plan.sweep, 1), context or None, prefix_caching, engine_flags, plan.options
    )
    engines.check(engine, wish, started=not (url or embedded))
    results = Path(results_dir) if results_dir else paths.RESULTS
    async with AsyncExitStack() as stack:
        if url:
            endpoint = await engines.attach(url, model, dialect=dialect, options=plan.options)
        folder = RunFolder.create(results, scenario, parameters=parameters, run_id=run_id or None, command=command)
        try:
            witnesses = await stack.enter_async_context(watching(folder, attached=bool(url)))
            if not url:
                witnesses.telemetry.mark(samples.LOADING)
                engine_ready = engines.open_engine(
                    engine, embedded=embedded, url="", model=model, log_dir=folder.path, wish=wish
                )
                endpoint = await stack.enter_async_context(engine_ready)
            folder.served_by(endpoint)
            folder.manifest["ruler"] = ruler_here(results, folder.manifest["machine"])
            await witnesses.ready(endpoint)
            yield Session(folder, endpoint, witnesses)
        except asyncio.CancelledError:
            folder.abandon(STOPPED)
            raise
        except BaseException as error:
            folder.abandon(f"{type(error).__name__}: {error}")
            raise


def ruler_here(results: Path, machine: Mapping[str, Any]) -> dict[str, Any]:
    """Return what a run on `machine` (of machine.machine) keeps of the newest complete ruler in `results`."""
    runs = [Run.load(file.parent) for file in sorted((results / "runs").glob("*-ruler-*/manifest.json"))]
    complete = [run for run in runs if run.manifest["status"] == "complete"]
    return ruler_of(machine, [(run.run_id, run.manifest["machine"], run.summary) for run in complete])


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
