"""Tell what a run is doing from its folder, and show it: on a terminal, in a notebook cell, or as lines of a log.

Only the folder is read, and nothing is decoded, so that the measurement is not disturbed.
"""

import contextlib
import contextvars
import json
import os
import re
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gptoss_bench.runs import RunStep, WorkerProgress, read_run_step, read_worker_progress, readable_runs
from gptoss_bench.session.worker_rows import workers_html, workers_table, workers_text
from gptoss_bench.stats import sweep_phase, sweep_plans
from gptoss_client import NS_PER_S, JsonValue, LoadPlan, Trace, count_at, object_at, one_line, text_at

LOG_S, TERMINAL_S = 10.0, 0.5  # between two lines of a log, and between two updates of a terminal
AROUND_S = 6.0  # of a notebook before and after its run: kernel, page
TAIL_BYTES = 4096
LOG_CHARS = 90
SHORTEST_S = 1.0  # of a part of a load, from which on its rate says how long the rest takes
FEWEST_WAVES = 3  # of a sweep, that LoadPlan allows
COMPUTING, NO_LOAD = "computing tables and figures", "computing"
# A line of the spool begins with the scalars of a trace in their order.
_TRACE = re.compile(rb'.*?"phase":"([^"]*)".*?"sent_ns":(\d+|null).*?"done_ns":(\d+|null)')


class LoadProgress:
    """How far a load is: which requests have ended, part by part, and about how long the rest takes."""

    def __init__(self, plan: LoadPlan | None) -> None:
        """Follow the load of a plan; None: its lengths are unknown."""
        self._parts = _parts(plan)
        self._counts: Counter[str] = Counter()
        self._phase = ""
        self._begun_ns = self._last_ns = 0  # of the phase: when it sent its first request, when its last one ended

    @property
    def ended(self) -> int:
        """Return the number of requests that have ended."""
        return self._counts.total()

    def add(self, phase: str, sent_ns: int | None, done_ns: int | None) -> None:
        """Count a request that has ended, with its times (ns, `time.perf_counter_ns`) as in its trace."""
        if phase != self._phase:
            self._phase, self._begun_ns = phase, sent_ns or time.perf_counter_ns()
        self._counts[phase] += 1
        self._last_ns = done_ns or self._last_ns

    def add_trace(self, trace: Trace) -> None:
        """Count a request by its trace."""
        self.add(trace.phase, trace.sent_ns, trace.done_ns)

    def text(self, *, time_left: bool = True) -> str:
        """Return the part that is measured now, its requests, and the time left of the whole load if it is known."""
        at = next((at for at, part in enumerate(self._parts) if part.phase == self._phase), None)
        done = self._counts[self._phase]
        if at is None:  # such as the request of a cold start
            return f"{self._phase}: {_requests(done)}"
        part, later = self._parts[at], self._parts[at + 1 :]
        if part.requests and done >= part.requests and not later:
            return COMPUTING
        doing = f"{part.name}: {_requests(done, part.requests)}"
        left = self._left(part, later, done) if time_left else None
        return f"{doing}, {left}" if left else doing

    def _left(self, part: "_Part", later: Sequence["_Part"], done: int) -> str:
        """Return the time left in words, "" if it is unknown.

        Parts to come with as many slots are as fast as this one. One with fewer slots sends at least as many requests
        per second and slot, and one with more as many per second, so that its time is known as a limit only.
        """
        now_ns = time.perf_counter_ns()
        spent_s = (self._last_ns - self._begun_ns) / NS_PER_S
        known = spent_s > SHORTEST_S and done >= min(part.slots, part.requests or part.slots)
        request_s = spent_s / done if known else None
        if part.duration_s is not None:
            left_s = part.duration_s - (now_ns - self._begun_ns) / NS_PER_S
            if left_s <= 0 and not later:
                return "waiting for the last responses"
        elif part.requests and request_s is not None:
            left_s = (part.requests - done) * request_s - (now_ns - self._last_ns) / NS_PER_S
        else:
            return ""
        left_s, is_limit = max(0.0, left_s), False
        for other in later:
            if other.duration_s is not None:
                left_s += other.duration_s
            elif other.requests and request_s is not None:
                left_s += other.requests * request_s * max(1.0, part.slots / other.slots)
                is_limit = is_limit or other.slots != part.slots
            else:
                return ""
        return left_text(left_s, is_limit=is_limit)


class RunProgress:
    """Read the folder of a run that is being written, which need not exist yet; `text` is what it does now."""

    def __init__(self, folder: Path, plan: LoadPlan | None = None, *, load: LoadProgress | None = None) -> None:
        """Follow a folder.

        `plan` is that of its load, None: as far as the manifest has it. `load` is counted by the caller, so that the
        requests are not read; None: they are counted here.
        """
        self._folder, self._plan = folder, plan
        self._offset = 0
        self._load, self._reads = load, load is None
        self._workers_began_s: float | None = None
        self._repeat: tuple[str, RunProgress] | None = None

    def text(self, *, time_left: bool = True, otherwise: str = "") -> str:
        """Return what the run does now, with counts and the time left of its load.

        `otherwise` is returned, if given, where the folder does not tell.
        """
        manifest = _manifest(self._folder)
        if manifest is None:
            return otherwise or "starting"
        if text_at(manifest, "status") != "running":
            return otherwise or "the run is written"
        if workers := read_worker_progress(self._folder):
            return workers_text(workers, self._workers_left(workers) if time_left else "")
        step = read_run_step(self._folder)
        found = self._step_text(step, time_left) if step else self._load_text(manifest, time_left)
        return otherwise if otherwise and found in (COMPUTING, NO_LOAD) else found

    def _load_text(self, manifest: dict[str, JsonValue], time_left: bool) -> str:
        parameters = object_at(manifest, "parameters")
        self._load = self._load or LoadProgress(self._plan or _plan(parameters))
        if self._reads:
            self._read(self._load)
        if self._load.ended:
            return self._load.text(time_left=time_left)
        if not parameters.get("concurrency"):
            return NO_LOAD
        if object_at(manifest, "endpoint").get("url") or parameters.get("url"):
            return "waiting for the first response"
        line = _last_log_line(self._folder)
        return f"starting the server{f': {line}' if line else ''}"

    def _step_text(self, step: RunStep, time_left: bool) -> str:
        if step.run_id:
            if self._repeat is None or self._repeat[0] != step.run_id:
                self._repeat = (step.run_id, RunProgress(self._folder.parent / step.run_id))
            return f"{step.doing}, {self._repeat[1].text(time_left=time_left)}"
        spent_s, parts = time.monotonic() - step.began_s, [step.doing]
        if step.lasts_s is not None:
            parts[0] += f", {clock(min(spent_s, step.lasts_s))} of {clock(step.lasts_s)}"
        parts += [step.known] if step.known else []
        if step.rest_s is not None and time_left:
            parts.append(left_text(max(0.0, step.rest_s - spent_s), is_limit=True))
        return "; ".join(parts)

    def _workers_left(self, workers: Sequence[WorkerProgress]) -> str:
        """Return the time left of a load of several workers in words, "" if it is unknown."""
        ended, planned = sum(worker.ended for worker in workers), [worker.requests for worker in workers]
        if any(worker.state == "sending" for worker in workers):
            self._workers_began_s = self._workers_began_s or time.monotonic()
        if self._workers_began_s is None or None in planned or not ended:
            return ""
        spent_s, total = time.monotonic() - self._workers_began_s, sum(filter(None, planned))
        return left_text((total - ended) * spent_s / ended, is_limit=False) if spent_s > SHORTEST_S else ""

    def _read(self, load: LoadProgress) -> None:
        """Count the requests that ended since the last call."""
        with contextlib.suppress(OSError), (self._folder / "traces.jsonl").open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                if (found := _TRACE.match(line)) and b'"unsent":' not in line:
                    phase, *times = found.groups()
                    load.add(phase.decode("utf-8", "replace"), *(None if at == b"null" else int(at) for at in times))


@dataclass(frozen=True, slots=True)
class _Part:
    """One part of a load: its phase in the tables, its name, and what is planned of it."""

    phase: str
    name: str
    slots: int
    requests: int | None
    duration_s: float | None = None


def _parts(plan: LoadPlan | None) -> list[_Part]:
    """Return the parts of a load in their order; None: its lengths are unknown."""
    if plan is None:
        return [_Part("warmup", "warm-up", 1, None), _Part("measure", "load", 1, None)]
    warmup = [_Part("warmup", "warm-up", plan.concurrency, plan.warmup)] if plan.warmup else []
    load = _Part("measure", "load", plan.concurrency, plan.planned_requests(), plan.duration_s)
    levels = [
        _Part(sweep_phase(one.concurrency), f"sweep, {_many(one.concurrency, 'stream')}", one.concurrency, one.requests)
        for one in sweep_plans(plan)
    ]
    return [*warmup, load, *levels]


def run_seconds(results: Path, scenario: str, parameters: Mapping[str, JsonValue]) -> float | None:
    """Return how long the newest complete run of a scenario with these parameters took, None without one.

    Parameters that only one of the two has are not compared.
    """
    found = None
    for run in readable_runs(results, f"*-{scenario}-*"):
        own, ended = run.manifest.parameters, run.manifest.end_utc
        same = all(own[name] == value for name, value in parameters.items() if name in own and name != "results_dir")
        began = run.manifest.start_utc
        if run.scenario == scenario and run.manifest.status == "complete" and began and ended and same:
            spent = datetime.fromisoformat(ended) - datetime.fromisoformat(began)
            found = spent.total_seconds() + AROUND_S
    return found


def clock(seconds: float) -> str:
    """Return seconds as minutes and seconds, such as 2:05."""
    return f"{int(seconds + 0.5) // 60}:{int(seconds + 0.5) % 60:02d}"


def left_text(seconds: float, *, is_limit: bool) -> str:
    """Return the time that is left in words, such as "about 2:05 left"; `is_limit`: it will not take longer."""
    return f"{'at most ' if is_limit else ''}about {clock(seconds)} left"


class ProgressDisplay:
    """Show one changing line until `close`: on a terminal in place, in a notebook cell in place, else every LOG_S.

    A kernel without a Jupyter server, such as papermill's, shows nothing: its output is kept.
    """

    def __init__(self) -> None:
        self._console: Any = None
        self._handle: Any = None
        self._shown_s = time.monotonic()
        in_kernel = _is_kernel()
        self._silent = in_kernel and "JPY_SESSION_NAME" not in os.environ
        if in_kernel and not self._silent:
            from IPython.display import HTML, display

            self._handle = display(HTML(""), display_id=True)  # type: ignore[no-untyped-call]
        elif not self._silent and sys.stderr.isatty() and os.environ.get("TERM") != "dumb":
            from rich.console import Console

            # Drawn as rarely as its text changes: the load may be sent by this process.
            self._console = Console(stderr=True, highlight=False).status(
                "", spinner="dots", refresh_per_second=1 / TERMINAL_S
            )
            self._console.start()

    def update(self, text: str, workers: Sequence[WorkerProgress] = ()) -> None:
        """Show this text, and below it a row per worker, in place of the last one.

        A log gets the text alone, if its last line is LOG_S old.
        """
        now_s = time.monotonic()
        if self._handle is not None:
            from html import escape

            from IPython.display import HTML

            self._handle.update(HTML(f"<div>{escape(text)}</div>{workers_html(workers)}"))  # type: ignore[no-untyped-call]
        elif self._console is not None:
            from rich.console import Group
            from rich.text import Text

            line = Text(text, overflow="ellipsis", no_wrap=True)
            self._console.update(Group(line, workers_table(workers)) if workers else line)
        elif not self._silent and now_s - self._shown_s >= LOG_S:
            self._shown_s = now_s
            print(text, file=sys.stderr, flush=True)

    def close(self, last: str = "") -> None:
        """Remove the line of a terminal; a cell shows `last`, or keeps its last text."""
        if self._handle is not None and last:
            self.update(last)
        if self._console is not None:
            self._console.stop()


@contextlib.contextmanager
def showing_progress(text: Callable[[], str] | str, *, elapsed: bool = True) -> Iterator[None]:
    """Show a text, or what `text` returns when it is called from another thread, while the block runs.

    With `elapsed` the time since its begin is before it.
    """
    display, ended, began_s = ProgressDisplay(), threading.Event(), time.monotonic()

    def show() -> None:
        while not ended.wait(TERMINAL_S):
            with contextlib.suppress(OSError, ValueError):  # a line is missed, nothing else
                spent = f"{clock(time.monotonic() - began_s)}  " if elapsed else ""
                display.update(spent + (text if isinstance(text, str) else text()))

    # In a cell the thread needs the context of the cell, to show something below it.
    thread = threading.Thread(target=contextvars.copy_context().run, args=(show,), daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        display.close(f"done in {clock(time.monotonic() - began_s)}" if elapsed else "")


def _is_kernel() -> bool:
    """Return whether this process is a Jupyter kernel; papermill's, which only imports ipykernel, is none."""
    app = sys.modules.get("ipykernel.kernelapp")
    return app is not None and bool(app.IPKernelApp.initialized())


def _manifest(folder: Path) -> dict[str, JsonValue] | None:
    try:
        found = json.loads((folder / "manifest.json").read_bytes())
    except (OSError, ValueError):
        return None
    return found if isinstance(found, dict) else None


def _plan(parameters: dict[str, JsonValue]) -> LoadPlan | None:
    """Return the load of the parameters of a manifest, as far as its parts depend on it; None: they do not say."""
    sweep, duration, requests = parameters.get("sweep"), parameters.get("duration_s"), count_at(parameters, "requests")
    duration_s = float(duration) if isinstance(duration, int | float) else None
    if not requests and duration_s is None:
        return None
    return LoadPlan(
        concurrency=count_at(parameters, "concurrency") or 1,
        requests=requests if duration_s is None else None,
        duration_s=duration_s,
        warmup=count_at(parameters, "warmup") or 0,
        sweep=tuple(level for level in sweep if isinstance(level, int)) if isinstance(sweep, list) else (),
        sweep_waves=count_at(parameters, "sweep_waves") or FEWEST_WAVES,
    )


def _many(count: int, name: str) -> str:
    return f"{count} {name}{'' if count == 1 else 's'}"


def _requests(done: int, planned: int | None = None) -> str:
    return f"{done} of {planned} requests" if planned else _many(done, "request")


def _last_log_line(folder: Path) -> str:
    """Return the last line of the newest log of an engine, "" without one."""
    with contextlib.suppress(OSError):
        logs = sorted(folder.glob("*.log"), key=lambda file: file.stat().st_mtime)
        if logs:
            with logs[-1].open("rb") as file:
                file.seek(max(0, logs[-1].stat().st_size - TAIL_BYTES))
                lines = file.read().decode("utf-8", "replace").replace("\r", "\n").splitlines()
            last = next((line for line in reversed(lines) if line.strip()), "")
            return one_line(last, LOG_CHARS)
    return ""
