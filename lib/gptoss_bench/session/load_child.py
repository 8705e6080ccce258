"""One load in a process of its own: a line of JSON on stdin says what to do, a line of JSON on stdout how it ended.

Any further line stops the load, as does the end of stdin (whoever asked is gone) and SIGTERM. What has ended by then
is kept. load_process.py is the parent.
"""

import asyncio
import contextlib
import json
import os
import signal
import sys
import threading
import traceback
from typing import Any

from gptoss_bench.session.session import serving
from gptoss_client import LoadPlan, RunFailed, UsageError, new_event_loop


async def _measure(job: dict[str, Any]) -> None:
    plan = LoadPlan(**job["plan"])
    async with serving(**job["serving"], plan=plan) as session:
        await session.load(plan)
        session.finish()


async def _until_stopped(job: dict[str, Any]) -> dict[str, Any]:
    """How the load ended: {"ended": "complete", "stopped", "refused" or "failed", "words": why, or None}."""
    loop = asyncio.get_running_loop()
    measuring = loop.create_task(_measure(job))
    asked = False

    def stop() -> None:
        nonlocal asked
        if not asked:  # a second time would cut off what writes the run
            asked = True
            measuring.cancel()

    for number in (signal.SIGTERM, signal.SIGINT):
        with contextlib.suppress(NotImplementedError):  # Windows
            loop.add_signal_handler(number, stop)
    threading.Thread(target=_call_when_reported, args=(loop, stop), daemon=True).start()
    try:
        await measuring
    except asyncio.CancelledError:
        return {"ended": "stopped", "words": "stopped; completed requests were saved"}
    except UsageError as error:
        return {"ended": "refused", "words": str(error)}
    except RunFailed as error:
        return {"ended": "failed", "words": str(error)}
    except Exception as error:
        traceback.print_exc()
        return {"ended": "failed", "words": f"{type(error).__name__}: {error}"}
    return {"ended": "complete", "words": None}


def _call_when_reported(loop: asyncio.AbstractEventLoop, stop: Any) -> None:
    sys.stdin.readline()
    with contextlib.suppress(RuntimeError):  # the loop is closed: the load had ended by itself
        loop.call_soon_threadsafe(stop)


def main() -> int:
    """Do what stdin says; 0 where the load is complete."""
    job = json.loads(sys.stdin.readline())
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        ended = runner.run(_until_stopped(job))
    print(json.dumps(ended), flush=True)
    return 0 if ended["ended"] == "complete" else 1


if __name__ == "__main__":
    # The thread may still wait on stdin, and Python would wait at exit for the lock that it holds.
    code = main()
    sys.stderr.flush()
    os._exit(code)
