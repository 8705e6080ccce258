"""Run one load in its own process: one line of JSON on stdin is the job, one line of JSON on stdout is the result.

A second line, the end of stdin (the parent has exited) and SIGTERM stop the load; completed requests are saved. The
parent is load_process.py.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from collections.abc import Callable, Coroutine
from dataclasses import asdict
from pathlib import Path
from typing import Any

from gptoss_bench.engines import ServerChoice
from gptoss_bench.fleet import LoadEnd
from gptoss_bench.runs import Slo
from gptoss_bench.session.fleet_load import load_fleet
from gptoss_bench.session.load_process import SCENARIO
from gptoss_bench.session.session import serving
from gptoss_bench.session.stop_signals import kept_text
from gptoss_bench.session.workers import choose_fleet
from gptoss_client import LoadPlan, RunFailed, UsageError, hide_secrets, new_event_loop, printable_text

Listen = Callable[[asyncio.AbstractEventLoop, Callable[[], None]], None]


async def _measure(job: dict[str, Any]) -> None:
    plan, server = LoadPlan(**job["plan"]), ServerChoice(**job["server"])
    slo = None if job["slo"] is None else Slo(**job["slo"])
    names = {name: job[name] for name in ("results_dir", "run_id", "repeat_group")}
    fleet = await choose_fleet(job["workers"], plan, server, Path(job["results_dir"]))
    async with serving(SCENARIO, server, plan=plan, slo=slo, **names) as session:
        await (session.load(plan) if fleet is None else load_fleet(session, plan, fleet))
        session.finish()


async def run_until_stopped(measure: Coroutine[Any, Any, None], listen: Listen, folder: Path) -> LoadEnd:
    """Run the load and return how it ended; SIGTERM, SIGINT and what `listen` calls stop it.

    `folder` is the run folder that it writes.
    """
    loop = asyncio.get_running_loop()
    measuring = loop.create_task(measure)
    stopping = False

    def stop() -> None:
        nonlocal stopping
        if not stopping:  # a second cancellation would interrupt the writing of the run
            stopping = True
            measuring.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop)
    threading.Thread(target=listen, args=(loop, stop), daemon=True).start()
    try:
        await measuring
    except asyncio.CancelledError:
        return LoadEnd("stopped", f"stopped; {kept_text(folder)}")
    except UsageError as error:
        return LoadEnd("refused", str(error))
    except RunFailed as error:
        return LoadEnd("failed", str(error))
    except Exception as error:
        print(printable_text(hide_secrets(traceback.format_exc())), file=sys.stderr)
        return LoadEnd("failed", f"{type(error).__name__}: {error}")
    return LoadEnd("complete", None)


def _call_after_next_line(loop: asyncio.AbstractEventLoop, stop: Callable[[], None]) -> None:
    sys.stdin.readline()
    with contextlib.suppress(RuntimeError):  # the loop is closed: the load has ended
        loop.call_soon_threadsafe(stop)


def main() -> int:
    """Run the job on stdin and return 0 if the load is complete, else 1."""
    job = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        folder = Path(job["results_dir"]) / "runs" / job["run_id"]
        end = runner.run(run_until_stopped(_measure(job), _call_after_next_line, folder))
    print(json.dumps(asdict(end)), flush=True)
    return 0 if end.status == "complete" else 1


if __name__ == "__main__":
    # The thread may still block on stdin; a normal exit of Python would wait for the lock that it holds.
    code = main()
    sys.stderr.flush()
    os._exit(code)
