"""Errors of background tasks that nobody awaited: a notebook would pass with them, so they are asked for at its end."""

import asyncio
import gc
import weakref
from typing import Any

from gptoss_client import RunFailed

_lost: list[str] = []
_watched: "weakref.WeakSet[asyncio.AbstractEventLoop]" = weakref.WeakSet()


def watch_background_tasks() -> None:
    """Let asyncio tell this module of each task whose error nobody retrieved, from now on, on the running loop."""
    loop = asyncio.get_running_loop()
    if loop in _watched:
        return
    before = loop.get_exception_handler()

    def listen(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
        error = context.get("exception")
        if isinstance(context.get("future"), asyncio.Task) and error is not None:
            _lost.append(f"{type(error).__name__}: {error}")
        (before or asyncio.AbstractEventLoop.default_exception_handler)(loop, context)

    loop.set_exception_handler(listen)
    _watched.add(loop)


def raise_background_errors() -> None:
    """Raise RunFailed where a background task has failed unnoticed since the watch began."""
    gc.collect()  # asyncio tells of a lost error when the task is collected ...
    for task in [thing for thing in gc.get_objects() if isinstance(thing, asyncio.Task)]:
        # ... and marks it until then; a notebook's variables and its output history keep tasks alive.
        if task.done() and not task.cancelled() and getattr(task, "_log_traceback", False):
            _lost.append(repr(task.exception()))
    if _lost:
        errors = "; ".join(_lost)
        _lost.clear()
        raise RunFailed(f"a background task failed and nobody awaited it: {errors}")
