"""Measure one server from a notebook or the shell: start it, probe it, load it, write its run folder."""

import asyncio
import math
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from contextlib import AbstractContextManager, AsyncExitStack, asynccontextmanager, contextmanager, nullcontext
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, Literal

import pandas as pd
from pydantic import JsonValue

from gptoss_bench import paths
from gptoss_bench.engines import (
    METRIC_SOURCES,
    ServerChoice,
    accepts_token_counts,
    attach,
    no_metrics_advice,
    open_engine,
    restore_keep_alive,
    unload,
    with_word_tokens,
)
from gptoss_bench.runs import (
    PHASE_AFTER,
    PHASE_BEFORE,
    PHASE_ENDED,
    PHASE_LOADING,
    PHASE_SWEEP,
    CalibrationReference,
    CalibrationSummary,
    Capacity,
    CapacityGoal,
    CapacityLevel,
    ClientLimits,
    ColdRequest,
    Finding,
    LoadSummary,
    Machine,
    Manifest,
    PlannedLoad,
    Run,
    RunFolder,
    RunStep,
    ServerProbes,
    Slo,
    new_repeat_group,
    new_run_id,
    readable_runs,
    write_run_step,
)
from gptoss_bench.session.background_tasks import raise_background_errors, watch_background_tasks
from gptoss_bench.session.capacity import LevelCallback, level_load, run_capacity_search
from gptoss_bench.session.evaluate import evaluate, findings_document
from gptoss_bench.session.progress import COMPUTING
from gptoss_bench.session.server_probes import probe_server
from gptoss_bench.session.stop_signals import stop_reason
from gptoss_bench.session.sweep import run_sweep
from gptoss_bench.stats import (
    CAPACITY_UNITS,
    CapacitySearch,
    PlannedLevel,
    agreement_table,
    client_text,
    evaluate_capacity,
    known_levels,
    last_level,
    longest_rest_s,
    select_calibration,
)
from gptoss_bench.telemetry import CpuUsed, TelemetryRecorder, record_telemetry
from gptoss_client import (
    WHOLE_LOAD,
    BeginCallback,
    Client,
    Endpoint,
    LoadPlan,
    LoadShard,
    Request,
    RunFailed,
    Trace,
    TraceCallback,
    UnsentRequests,
    UsageError,
    messages_sha256,
    request_body,
    run_load,
)

FILE_FIELDS = ("replay", "prompts_file")  # of LoadPlan
WATCH_S = 0.5  # between two looks at the run folder during a load


class Session:
    """One run against one server, opened by `serving`; it is incomplete until `finish` has written it."""

    def __init__(self, folder: RunFolder, endpoint: Endpoint, telemetry_recorder: TelemetryRecorder) -> None:
        self.folder = folder
        self.endpoint = endpoint
        self.telemetry_recorder = telemetry_recorder
        self.findings: list[Finding] = []
        self.requests = pd.DataFrame()
        self.summary = LoadSummary()
        self.watch: Callable[[Path, LoadPlan], AbstractContextManager[None]] = lambda _folder, _plan: nullcontext()
        """What shows the run in a folder while its load runs; a repeat is shown like the first run."""
        self._next_id = 0

    def _show_step(self, doing: str, **more: Any) -> None:
        """Keep in the run folder what is done now; `more` are fields of RunStep. Empty: what its requests show."""
        write_run_step(self.folder.path, RunStep(doing, time.monotonic(), **more) if doing else None)

    @property
    def manifest(self) -> Manifest:
        """Return the manifest of the run: where and how it is measured, for the footers of figures."""
        return self.folder.manifest

    @property
    def events(self) -> pd.DataFrame:
        """Read the event table from disk; it may be large, so it is not kept in memory."""
        return self.folder.tables()[1]

    @property
    def title(self) -> str:
        """Return one line with label (such as TINY MODEL), model, engine and run id."""
        label = f"{self.endpoint.label}: " if self.endpoint.label else ""
        return f"{label}{self.endpoint.model} with {self.endpoint.engine}, run {self.folder.run_id}"

    @property
    def findings_table(self) -> pd.DataFrame:
        """Return the findings, one row each, the most severe first."""
        return pd.DataFrame(findings_document(self.findings), columns=["severity", "rule", "evidence", "advice"])

    @property
    def agreement(self) -> pd.DataFrame:
        """Return client and server values of each quantity that both report, with the error of each."""
        return agreement_table(self.summary.agreement)

    @property
    def machine_tables(self) -> dict[str, pd.DataFrame]:
        """Return the sample tables "gpu", "host" and "server"; a table without samples is empty."""
        return self.telemetry_recorder.telemetry.tables

    async def probe(self) -> ServerProbes:
        """Probe the server for claims about it (`probe_server`), add the results to the summary and return them."""
        self._show_step("asking the server what it supports")
        self.summary.probes = await probe_server(self.endpoint)
        return self.summary.probes

    async def with_token_counts(self, plan: LoadPlan) -> LoadPlan:
        """Return the plan with `token_counts` if the server accepts a request for them, else without.

        One request tries it where it is not known of the engine. The manifest gets what is used.
        """
        plan = replace(plan, token_counts=await accepts_token_counts(self.endpoint))
        self.manifest.parameters["token_counts"] = plan.token_counts
        return plan

    async def cold(self, plan: LoadPlan) -> pd.Series:
        """Unload the model of an Ollama server, send one request, which loads it again, and return its row.

        The summary gets `cold`: load_s as the server reports it, and ttft_s. Raises RunFailed if the request fails.
        """
        self._show_step("unloading the model; then one request loads it again")
        await unload(self.endpoint)
        await self.telemetry_recorder.phase(PHASE_BEFORE)
        self.telemetry_recorder.telemetry.mark(PHASE_LOADING)
        body = request_body(plan, self.endpoint, 0)
        # Loading may take longer than the plan allows a first token to take.
        async with Client(self.endpoint, replace(plan, first_timeout_s=None, idle_timeout_s=None)) as client:
            await client.send(Request(body, self._next_id, "cold"), self.folder.add)
        await self.telemetry_recorder.phase(PHASE_AFTER)
        self._next_id += 1
        row = self.folder.requests().iloc[-1]
        if row.outcome != "completed":
            raise RunFailed(f"the cold request failed ({row.failure}): {row.error}")
        self.summary.cold = ColdRequest(load_s=_number(row.server_load_s), ttft_s=_number(row.ttft_s))
        return row

    async def load(
        self,
        plan: LoadPlan,
        progress: TraceCallback | None = None,
        *,
        shard: LoadShard = WHOLE_LOAD,
        begin: BeginCallback | None = None,
    ) -> LoadSummary:
        """Run the plan, then its sweep, and return the summary of both.

        With `shard` only this part of the plan is sent, from the time on that `begin` returns (`run_load`).

        Raises RunFailed if one of them is incomplete; completed requests are saved.
        """
        plan = plan if shard.count > 1 else await self.with_prompts(plan)  # the coordinator has asked once for all
        return await self._load(plan, progress, shard=shard, begin=begin)

    async def find_capacity(
        self,
        plan: LoadPlan,
        search: CapacitySearch,
        *,
        max_s: float = math.inf,
        progress: TraceCallback | None = None,
        on_level: LevelCallback | None = None,
    ) -> LoadSummary:
        """Search for the highest load within the SLO of this session, then measure the load there; return the summary.

        Its `capacity` has the levels and the result; all else is of the load at the end, which is as long as a level.
        It is at the capacity, where the search found one, else at the highest level within the SLO, else at the lowest
        one. Open the session with `serving(..., slo=..., capacity=search.goal)`.

        Args:
            plan: What each level sends; its rate or concurrency and its duration are those of the level.
            search: How the search proceeds.
            max_s: Longest duration of the search in seconds, with the load at the end.
            progress: Called with the trace of each request.
            on_level: Called with each level before it begins, and with what it says when it has ended.

        Raises:
            UsageError: The plan has conversations.
            RunFailed: A level is incomplete; completed requests are saved.
        """
        if plan.turns is not None:
            raise UsageError("a search for the capacity is of single requests: leave turns out")
        load = PlannedLoad.of(self.manifest.parameters)
        assert load is not None and load.slo is not None, "open the session with an SLO"
        self.summary.capacity = measured = Capacity(goal=search.goal)
        plan = await self.with_prompts(plan)
        began_s, unit = time.monotonic(), CAPACITY_UNITS[search.goal.by]

        def show_level(planned: PlannedLevel, level: CapacityLevel | None) -> None:
            if level is None:
                left_s = [began_s + max_s - time.monotonic(), longest_rest_s(measured.levels, search, planned)]
                self._show_step(
                    f"level {len(measured.levels) + 1}: {planned.level:g} {unit}", lasts_s=planned.duration_s,
                    rest_s=min(filter(math.isfinite, left_s), default=None), known=known_levels(measured),
                )  # fmt: skip
            if on_level:
                on_level(planned, level)

        async def find(record: TraceCallback, record_unsent: Callable[[UnsentRequests], None]) -> tuple[LoadPlan, str]:
            assert load is not None and load.slo is not None
            self.telemetry_recorder.telemetry.mark(PHASE_SWEEP)
            reason = await run_capacity_search(
                plan, self.endpoint, self.folder, record, record_unsent, slo=load.slo, search=search,
                max_s=max_s - search.level_s, measured=measured, on_level=show_level,
            )  # fmt: skip
            found = evaluate_capacity(measured.levels, search.goal)
            at = found.value or found.low or min((one.level for one in measured.levels), default=search.start)
            last = level_load(plan, last_level(at, search), search, len(measured.levels) + 1)
            self.manifest.parameters |= {name: getattr(last, name) for name in ("rate", "concurrency", "duration_s")}
            self.manifest.parameters["requests"] = None
            lasts_s, known = last.duration_s, known_levels(measured)
            self._show_step(f"last load: {at:.3g} {unit}", lasts_s=lasts_s, rest_s=lasts_s, known=known)
            return last, reason or ""

        return await self._load(plan, progress, find)

    async def _load(
        self,
        plan: LoadPlan,
        progress: TraceCallback | None,
        find: Callable[[TraceCallback, Callable[[UnsentRequests], None]], Awaitable[tuple[LoadPlan, str]]]
        | None = None,
        *,
        shard: LoadShard = WHOLE_LOAD,
        begin: BeginCallback | None = None,
    ) -> LoadSummary:
        """Run what `find` does and the plan that it returns, or the plan; then its sweep. Return the summary."""
        planned, complete = list[int](), list[int]()
        used, cpu_shares = CpuUsed(), dict[int, float | None]()

        def record(trace: Trace) -> None:
            planned.append(trace.request_id)
            if trace.phase == "measure" and trace.ending == "complete":
                complete.append(trace.request_id)
            if progress is not None:
                progress(trace)

        def record_unsent(unsent: UnsentRequests) -> None:
            self._next_id += unsent.count
            self.folder.add_unsent(unsent)

        async def mark(phase: str) -> None:
            if phase == "end":
                used.stop()
            await self.telemetry_recorder.load_phase(phase, len(complete))
            if phase == "measure":
                used.start()

        reason = ""
        in_part = ""
        self._show_step("")
        try:
            with self.folder.counting_clock_steps(), self._watched_folder():
                if find is not None:
                    in_part = "search"
                    plan, reason = await find(record, record_unsent)
                if not reason:
                    in_part = ""
                    keep, first_id = self.folder.add, self._next_id + len(planned)
                    load = run_load(
                        plan,
                        self.endpoint,
                        keep,
                        record,
                        first_id=first_id,
                        on_phase=mark,
                        record_unsent=record_unsent,
                        shard=shard,
                        begin=begin,
                    )
                    reason = await load or ""
                if plan.sweep and complete and not reason:
                    in_part = "sweep"
                    self.telemetry_recorder.telemetry.mark(PHASE_SWEEP)
                    first_id = self._next_id + len(planned)
                    swept = run_sweep(
                        plan, self.endpoint, self.folder, record, first_id=first_id, cpu_shares=cpu_shares
                    )
                    reason = await swept or ""
                    self.telemetry_recorder.telemetry.mark(PHASE_ENDED)
        except BaseException as error:
            reason = failure_reason(error) + (f" (in its {in_part})" if in_part else "")
            raise
        finally:
            used.stop()
            self._next_id += len(planned)
            if not self.folder.is_gone():
                self._show_step(COMPUTING)
                self._evaluate(plan, used, cpu_shares)
                if reason:
                    self.end("incomplete", reason)
        return self._checked(reason)

    def _checked(self, reason: str) -> LoadSummary:
        """Return the summary. Raises RunFailed if the load is incomplete for a reason, or no request completed."""
        if not reason and self.summary.completed == 0:
            first = self.requests.error.dropna()
            reason = f"no request completed: {first.iloc[0] if len(first) else self.summary.failures}"
            self.end("incomplete", reason)
        if reason:
            raise RunFailed(f"run {self.folder.run_id} is incomplete: {reason}")
        return self.summary

    async def with_prompts(self, plan: LoadPlan) -> LoadPlan:
        """Return the plan with what the server says of its vocabulary; the manifest gets it, and a hash of the prompts.

        Asked only where lengths of made-up prompts are planned.
        """
        parameters = self.manifest.parameters
        if plan.prompts in ("synthetic", "file"):
            plan, parameters["prompt_tokens_unit"] = await with_word_tokens(plan, self.endpoint)
            parameters["tokens_per_word"] = plan.tokens_per_word
        parameters["messages_sha256"] = messages_sha256(plan)
        return plan

    def _evaluate(self, plan: LoadPlan, used: CpuUsed, cpu_shares: dict[int, float | None]) -> None:
        """Compute the tables, the summary and the findings of everything measured so far."""
        load = PlannedLoad.of(self.manifest.parameters) or PlannedLoad(plan.concurrency)
        requests = self.folder.sent_requests()
        self.requests = requests.rows
        self.summary.telemetry, self.summary.server_metrics = self.telemetry_recorder.reported()
        self.summary, self.findings = evaluate(
            self.summary,
            self.requests,
            self.folder.event_columns,
            load=load,
            cpu_s=used.cpu_s,
            cpu_share=used.cpu_share,
            manifest=self.manifest,
            sweep_cpu_shares=cpu_shares,
            pauses=self.folder.pauses(),
            unsent=requests.unsent,
        )
        self.note_client()

    def note_client(self) -> None:
        """Note in the manifest, for the figures, how far the client's times can be trusted."""
        self.manifest.client = ClientLimits(error_bar=client_text(self.summary), bound=self.summary.client.bound)

    @contextmanager
    def _watched_folder(self) -> Iterator[None]:
        """Raise UsageError within a second if the run folder is deleted or moved during the block."""
        task, loop = asyncio.current_task(), asyncio.get_running_loop()
        assert task is not None
        gone, looks = False, list[asyncio.TimerHandle]()

        def look() -> None:
            nonlocal gone
            gone = self.folder.is_gone()
            if gone:
                task.cancel()
            else:
                looks[:] = [loop.call_later(WATCH_S, look)]

        look()
        try:
            yield
        except asyncio.CancelledError:
            if not gone:
                raise
            task.uncancel()
            raise UsageError(f"the run folder {self.folder.path} was deleted or moved during the load") from None
        finally:
            for timer in looks:
                timer.cancel()

    async def repeat(self, plan: LoadPlan, server: ServerChoice, repeats: int) -> list[LoadSummary]:
        """Repeat the load until there are `repeats` runs of it, and return their summaries, that of this run first.

        Call it after the block of `serving`: each repeat starts the server again, or attaches to it again, and writes a
        run folder of its own in the repeat group of this run. It has no sweep, and distinct prompts are new ones.
        Raises what `serving` and `load` raise.
        """
        again = [replace(plan, salt=plan.salt + number, sweep=()) for number in range(1, repeats)]
        group = self.manifest.repeat_group or ""
        return [self.summary, *await self._more_runs(self.manifest.scenario, again, server, group)]

    async def control(self, name: str, plan: LoadPlan, server: ServerChoice, repeats: int) -> list[LoadSummary]:
        """Run another plan as a control of this run, and return the summary of each of its `repeats` runs.

        Their scenario is that of this run and `name`, so that they are evidence for no claim about it. Call it after
        the block of `serving`; they have no sweep. Raises what `serving` and `load` raise.
        """
        if repeats == 0:
            return []
        again = [replace(plan, salt=plan.salt + number, sweep=()) for number in range(repeats)]
        return await self._more_runs(f"{self.manifest.scenario}-{name}", again, server, new_repeat_group(repeats))

    async def _more_runs(
        self, scenario: str, plans: Sequence[LoadPlan], server: ServerChoice, group: str
    ) -> list[LoadSummary]:
        """Run each plan in a run folder of its own, with the server started again, and return their summaries."""
        summaries, results_dir = [], str(self.folder.path.parents[1])
        is_repeat = scenario == self.manifest.scenario
        count, first, kind = (len(plans) + 1, 2, "run") if is_repeat else (len(plans), 1, "control run")
        for number, plan in enumerate(plans, start=first):
            run_id = new_run_id(scenario)
            self._show_step(f"{kind} {number} of {count}", run_id=run_id)
            opened = serving(scenario, server, plan=plan, results_dir=results_dir, run_id=run_id, repeat_group=group)
            with self.watch(self.folder.path.parent / run_id, plan):
                async with opened as session:
                    summaries.append(await session.load(plan))
                session.finish()
        self._show_step(COMPUTING)
        return summaries

    def finish(self) -> Run:
        """Write the run and return it as read from disk. Raises RunFailed if a background task failed."""
        raise_background_errors()
        return self.end("complete", None)

    def end(self, status: Literal["complete", "incomplete"], reason: str | None) -> Run:
        """Write the run with this status, and why it is not complete, and return it as read from disk."""
        self.telemetry_recorder.write_tables()
        self.folder.write_document("lint", findings_document(self.findings))
        return self.folder.finish(self.summary, status, reason)


@asynccontextmanager
async def serving(
    scenario: str,
    server: ServerChoice,
    *,
    plan: LoadPlan,
    results_dir: str = "",
    run_id: str = "",
    repeat_group: str = "",
    command: str | None = None,
    slo: Slo | None = None,
    capacity: CapacityGoal | None = None,
) -> AsyncIterator[Session]:
    """Open a run folder and a server that is ready, and yield their session.

    A server that was started is stopped at the end of the block; the session can be finished after that.

    Args:
        scenario: Scenario in the run id and the manifest.
        server: Server to attach to or to start.
        plan: Load plan; its options are those with which Ollama loads the model.
        results_dir: Results folder; empty: the folder `results` of the repository.
        run_id: Id of the run; empty: a new one.
        repeat_group: Id that the runs of a repeated load have in common (`new_repeat_group`); empty: a single run.
        command: Command line for the manifest; None for a notebook.
        slo: Limits that a good request meets.
        capacity: What a search looks for, for `Session.find_capacity`.

    Raises:
        UsageError: The run folder cannot be created, or the server cannot be reached or started.
    """
    watch_background_tasks()
    parameters: dict[str, JsonValue] = {**asdict(plan), **server.model_dump()}
    for name in FILE_FIELDS:  # folders of a machine are in no manifest
        if (file := parameters[name]) is not None:
            parameters[name] = Path(str(file)).name
    if slo is not None:
        parameters["slo"] = slo.model_dump(exclude_none=True)
    if capacity is not None:
        parameters["capacity"] = capacity.model_dump()
    server = server.model_copy(update={"context": server.context or plan.options.get("num_ctx") or 0})
    slots = max(plan.concurrency, *plan.sweep, 1)  # an open loop has no other number that an engine could be told
    results = Path(results_dir) if results_dir else paths.RESULTS
    async with AsyncExitStack() as stack:
        if server.url:
            endpoint = await attach(server.url, server.model, server.dialect, options=plan.options)
            request_body(plan, endpoint, 0)  # what the server does not know is refused before there is a run folder
        folder = RunFolder.create(results, scenario, parameters=parameters, run_id=run_id or None, command=command)
        folder.manifest.repeat_group = repeat_group or None
        try:
            telemetry_recorder = await stack.enter_async_context(record_telemetry(folder, attached=bool(server.url)))
            if not server.url:
                telemetry_recorder.telemetry.mark(PHASE_LOADING)
                engine_ready = open_engine(server, log_dir=folder.path, slots=slots, request_options=plan.options)
                endpoint = await stack.enter_async_context(engine_ready)
            if endpoint.dialect == "ollama" and endpoint.ready_s is None:  # another one's server
                stack.push_async_callback(restore_keep_alive, endpoint, plan.options)
            folder.set_endpoint(endpoint)
            folder.manifest.calibration = newest_calibration(results, folder.manifest.machine)
            await telemetry_recorder.ready(endpoint, METRIC_SOURCES, no_metrics_advice(endpoint.engine))
            yield Session(folder, endpoint, telemetry_recorder)
        except BaseException as error:
            folder.abandon(failure_reason(error))
            raise


def newest_calibration(results: Path, machine: Machine | None) -> CalibrationReference:
    """Return what the manifest of a run on `machine` stores of the newest complete calibration in `results`.

    See `select_calibration`.
    """
    return select_calibration(
        machine,
        [
            (run.run_id, run.manifest.machine, run.summary)
            for run in readable_runs(results, "*-calibration-*")
            if run.manifest.status == "complete" and isinstance(run.summary, CalibrationSummary)
        ],
    )


def failure_reason(error: BaseException) -> str:
    """Return why a run did not end as planned, for its manifest."""
    if isinstance(error, asyncio.CancelledError | KeyboardInterrupt | SystemExit):
        return stop_reason()
    text = " ".join(str(error).split())
    return text if isinstance(error, UsageError | RunFailed) else f"{type(error).__name__}: {text}"


def _number(value: Any) -> float | None:
    return None if pd.isna(value) else float(value)
