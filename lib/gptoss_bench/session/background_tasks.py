"""Detect background tasks that failed without being awaited: a notebook would otherwise pass in spite of them."""

import asyncio
import gc
import weakref
from typing import Any

from gptoss_client import RunFailed

_errors: list[str] = []
_watched: "weakref.WeakSet[asyncio.AbstractEventLoop]" = weakref.WeakSet()


def watch_background_tasks() -> None:
    """Record from now on each error of a task of the running loop that was never retrieved."""
    loop = asyncio.get_running_loop()
    if loop in _watched:
        return
    previous = loop.get_exception_handler()

    def record(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(context.get("future"), asyncio.Task) and error is not None:
            _errors.append(f"{type(error).__name__}: {error}")
        if previous is None:
            loop.default_exception_handler(context)
        else:
            previous(loop, context)

    loop.set_exception_handler(record)
    _watched.add(loop)


def raise_background_errors() -> None:
    """Raise RunFailed if a background task has failed without being awaited since `watch_background_tasks`."""
    gc.collect()  # asyncio reports an error that was not retrieved when the task is collected
    for task in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)]:
        # Variables and the output history of a notebook keep tasks alive; asyncio marks those until then.
        if task.done() and not task.cancelled() and getattr(task, "_log_traceback", False):
            _errors.append(repr(task.exception()))
    if _errors:
        errors = "; ".join(_errors)
        _errors.clear()
        raise RunFailed(f"a background task failed and was not awaited: {errors}; await it, or handle its error")
