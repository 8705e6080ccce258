"""Tell what a run is doing from its folder, and show it: on a terminal, in a notebook cell, or as lines of a log.

Only the folder is read, and nothing is decoded, so that the measurement is not disturbed.
"""

import contextlib
import json
import os
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Any

from gptoss_bench.runs import WorkerProgress, read_worker_progress, readable_runs
from gptoss_bench.session.worker_rows import workers_html, workers_table, workers_text
from gptoss_bench.stats import sweep_plans
from gptoss_client import JsonValue, LoadPlan, count_at, object_at, one_line, text_at

LOG_S, TERMINAL_S = 10.0, 0.5  # between two lines of a log, and between two updates of a terminal
AROUND_S = 6.0  # of a notebook before and after its run: kernel, page
TAIL_BYTES = 4096
LOG_CHARS = 90


class RunProgress:
    """Read the folder of a run that is being written, which need not exist yet; `text` is what it does now."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._offset = 0
        self._counts: Counter[str] = Counter()
        self._planned: dict[str, int] = {}
        self._phase, self._phase_s = "", 0.0

    def text(self) -> str:
        """Return what the run does now, with counts and the time left of a load."""
        manifest = _manifest(self._folder)
        if manifest is None:
            return "starting"
        if text_at(manifest, "status") != "running":
            return "writing figures and page"
        if workers := read_worker_progress(self._folder):
            return workers_text(workers)
        self._read()
        if not self._counts:
            line = _last_log_line(self._folder)
            waiting = f"waiting for the server{f': {line}' if line else ''}"
            return waiting if object_at(manifest, "parameters").get("concurrency") else "computing"
        self._planned = self._planned or _planned(object_at(manifest, "parameters"))
        phase, done = self._phase, self._counts[self._phase]
        total = self._planned.get(phase)
        name = {"measure": "load", "warmup": "warm-up"}.get(phase) or phase.replace("sweep-", "sweep at ")
        if total and done >= total and phase == list(self._planned)[-1]:
            return "computing tables and figures"
        left = ""
        elapsed_s = time.monotonic() - self._phase_s
        if total and done > 1 and elapsed_s > 1:
            left = f", about {clock((total - done) * elapsed_s / done)} left"
        return f"{name}: {done}{f' of {total}' if total else ''} requests{left}"

    def _read(self) -> None:
        """Count the requests that ended since the last call, by phase."""
        with contextlib.suppress(OSError), (self._folder / "traces.jsonl").open("rb") as file:
            file.seek(self._offset)
            for line in file:
                if not line.endswith(b"\n"):
                    break
                self._offset += len(line)
                phase = line.partition(b'"phase":"')[2].partition(b'"')[0].decode("utf-8", "replace")
                if phase != self._phase:
                    self._phase, self._phase_s = phase, time.monotonic()
                self._counts[phase] += 1


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

            self._console = Console(stderr=True, highlight=False).status("", spinner="dots")
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

    def close(self) -> None:
        """Remove the line of a terminal; a cell keeps its last text."""
        if self._console is not None:
            self._console.stop()


@contextlib.contextmanager
def showing_progress(text: Callable[[], str]) -> Iterator[None]:
    """Show what `text` returns while the block runs; it is called from another thread."""
    display, ended = ProgressDisplay(), threading.Event()

    def show() -> None:
        while not ended.wait(TERMINAL_S):
            with contextlib.suppress(OSError, ValueError):  # a line is missed, nothing else
                display.update(text())

    thread = threading.Thread(target=show, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
        display.close()


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


def _planned(parameters: dict[str, JsonValue]) -> dict[str, int]:
    """Return the number of requests by phase, in order; without a phase whose number is not planned."""
    requests, sweep = count_at(parameters, "requests"), parameters.get("sweep")
    levels = tuple(level for level in sweep if isinstance(level, int)) if isinstance(sweep, list) else ()
    plan = LoadPlan(requests=requests or 1, sweep=levels, sweep_waves=count_at(parameters, "sweep_waves") or 1)
    phases = {"warmup": count_at(parameters, "warmup") or 0, "measure": requests or 0}
    phases |= {f"sweep-{level.concurrency}": level.requests or 0 for level in sweep_plans(plan)}
    return {name: count for name, count in phases.items() if count}


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
