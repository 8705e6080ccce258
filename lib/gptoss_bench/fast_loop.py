"""The loop that a load runs on where nothing else runs on it."""

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    """A loop in C where there is one: less work for each token."""
    try:
        import uvloop
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
