"""The connections of a load, opened before anything is timed, and the limit on open files that they meet."""

import asyncio
import os
from collections.abc import Sequence

from gptoss_bench.client import Client
from gptoss_bench.errors import UsageError

AT_ONCE = 64  # a server's queue of connections that it has not accepted yet is often no longer than 100
SPARE_FILES = 64  # what the run itself opens: its spool, its tables, a log


def allow_connections(count: int) -> None:
    """See to it that this process may hold so many connections; raises its own limit as far as the system lets it.

    Raises UsageError where that is not far enough.
    """
    try:
        import resource
    except ImportError:  # Windows has no such limit
        return
    needed = _open_files() + SPARE_FILES + count
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    unlimited = resource.RLIM_INFINITY
    if soft == unlimited or soft >= needed:
        return
    if hard not in (unlimited, -1) and hard < needed:
        raise UsageError(
            f"{count} connections need {needed} open files and this system allows {hard} (RLIMIT_NOFILE): "
            "lower the concurrency, or raise the hard limit with ulimit -Hn"
        )
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (needed, hard))
    except (OSError, ValueError) as error:
        raise UsageError(f"{count} connections need {needed} open files: raise the limit, ulimit -n") from error


def _open_files() -> int:
    for folder in ("/proc/self/fd", "/dev/fd"):
        try:
            return len(os.listdir(folder))
        except OSError:
            continue
    return SPARE_FILES


async def connect_all(clients: Sequence[Client]) -> None:
    """Open the connection of each client, some at a time. At the first one refused the rest is left to the requests."""
    waiting = iter(clients)
    refused = False

    async def connect_some() -> None:
        nonlocal refused
        for client in waiting:
            if refused or not await client.connect():
                refused = True
                return

    async with asyncio.TaskGroup() as group:
        for _ in range(min(AT_ONCE, len(clients))):
            group.create_task(connect_some())
