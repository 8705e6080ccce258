"""Open a session as `gptoss_bench.session.serving` does, in JupyterLab with a live card of its run.

Another process reads the run folder and renders the card, so that the load of this kernel is not disturbed. A notebook
that papermill executes has no card: `gptoss-bench run` shows its progress.
"""

import contextlib
import contextvars
import json
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import asdict
from pathlib import Path

from gptoss_bench import paths, session
from gptoss_bench.engines import ServerChoice
from gptoss_bench.notebook.fit_panel import has_frontend
from gptoss_bench.notebook.follower import POLL_S, RunFollower
from gptoss_bench.notebook.live_view import render_live_view
from gptoss_bench.notebook.load_card import ending_text, run_title
from gptoss_bench.runs import CapacityGoal, Run, Slo, new_run_id
from gptoss_client import LoadPlan, UsageError

ENOUGH_S = 10.0  # for the child to draw its last view


@asynccontextmanager
async def serving(
    scenario: str,
    server: ServerChoice,
    *,
    plan: LoadPlan,
    results_dir: str = "",
    run_id: str = "",
    repeat_group: str = "",
    slo: Slo | None = None,
    capacity: CapacityGoal | None = None,
) -> AsyncIterator[session.Session]:
    """Open a run folder and a server that is ready, and yield their session; in JupyterLab show what the run does.

    Arguments and errors are those of `gptoss_bench.session.serving`.
    """
    run_id = run_id or new_run_id(scenario)
    folder = (Path(results_dir) if results_dir else paths.RESULTS) / "runs" / run_id
    opened = session.serving(
        scenario, server, plan=plan, results_dir=results_dir, run_id=run_id, repeat_group=repeat_group,
        slo=slo, capacity=capacity,
    )  # fmt: skip
    with _live_card(folder, plan) if has_frontend() else contextlib.nullcontext():
        async with opened as found:
            if has_frontend():
                found.watch = _live_card  # of the repeats
            yield found


@contextmanager
def _live_card(folder: Path, plan: LoadPlan) -> Iterator[None]:
    """Show the live view of a run below the cell until the block ends."""
    from IPython.display import HTML, display

    handle = display(HTML("starting"), display_id=True)  # type: ignore[no-untyped-call]
    child = subprocess.Popen(
        [sys.executable, "-m", "gptoss_bench.notebook.live_serving", str(folder), str(time.monotonic())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        start_new_session=True,  # the interrupt of a kernel must not reach it
        text=True,
        encoding="utf-8",
    )
    assert child.stdin is not None and child.stdout is not None
    lines = child.stdout

    def show() -> None:
        for line in lines:
            handle.update(HTML(json.loads(line)))  # type: ignore[no-untyped-call]

    showing = threading.Thread(target=contextvars.copy_context().run, args=(show,), daemon=True)
    try:
        child.stdin.write(json.dumps(asdict(plan)) + "\n")
        child.stdin.flush()
        showing.start()
        yield
    finally:
        with contextlib.suppress(OSError):
            child.stdin.close()  # it draws the last view and ends
        showing.join(ENOUGH_S)
        child.kill()
        child.wait()
        child.stdout.close()


def _title_and_status(folder: Path) -> tuple[str, str]:
    try:
        run = Run.load(folder)
    except UsageError:  # no manifest yet
        return folder.name, "starting"
    status = run.manifest.status if run.finished else "running"
    return run_title(run), ending_text(status, run.manifest.reason if run.finished else None)


def main(folder: Path, began_s: float) -> None:
    """Write one line with the HTML of the live view as a JSON string per poll, until stdin ends.

    `began_s` is when the card was opened (s, `time.monotonic`).
    """
    plan = LoadPlan(**json.loads(sys.stdin.readline()))
    follower, progress = RunFollower(folder, plan), session.RunProgress(folder, plan)
    ended = threading.Event()

    def wait_for_end() -> None:
        sys.stdin.read()
        ended.set()

    threading.Thread(target=wait_for_end, daemon=True).start()
    while not ended.is_set():
        title, _ = _title_and_status(folder)
        spent = session.clock(time.monotonic() - began_s)
        html = render_live_view(follower.poll(), title, f"{spent}  {progress.text()}")
        print(json.dumps(html), flush=True)
        ended.wait(POLL_S)
    title, status = _title_and_status(folder)
    status = "the load has ended; its run is complete when the last cell has run" if status == "running" else status
    until_s, before = time.monotonic() + ENOUGH_S / 2, -1
    while (view := follower.poll()).done != before and time.monotonic() < until_s:
        before = view.done
    print(json.dumps(render_live_view(view, title, status, ended=True)), flush=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), float(sys.argv[2]))
