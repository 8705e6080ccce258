"""Call the kit's async functions from plain code, also where a loop is running already.

In a notebook cell write `await …`; this is for scripts and for code that cannot await.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

import nest_asyncio2

T = TypeVar("T")


def run_sync(coroutine: Coroutine[Any, Any, T]) -> T:
    """Run a coroutine to its end and return its result, inside a running loop as well (nest-asyncio's job).

    Inside a running loop the loop is made re-entrant for good: do not measure on it afterwards, await instead.
    """
    try:
        loop = asyncio.get_running_loop()
    except RuntimeError:
        return asyncio.run(coroutine)
    nest_asyncio2.apply(loop)
    result: T = loop.run_until_complete(coroutine)
    return result
