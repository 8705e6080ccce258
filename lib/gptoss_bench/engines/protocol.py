"""What an engine is to this kit. Each is one file that has such a class; everything common is in `launch`.

`prepare` before anything starts, `command` and `environment` to start it, then `launch` waits for a token and asks
`describe`; stopping is the same for all. A server that runs already is recognised and described by `describe.py`.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Protocol

import httpx

from gptoss_bench.endpoint import Endpoint


class Engine(Protocol):
    """One server that the kit can start."""

    @property
    def log_name(self) -> str:
        """The file in the run folder that gets its output."""

    @property
    def cwd(self) -> Path | None:
        """The folder that it is started in; None for the present one."""

    def prepare(self) -> Endpoint:
        """Find the program and the model and return what is known by that; the url is still empty.

        Raises UsageError, in one line with the way out, where the engine is not installed or the model cannot be had.
        """

    def command(self, port: int) -> Sequence[str]:
        """The command line that serves on 127.0.0.1 at `port`; asked for after `prepare`."""

    def environment(self, port: int) -> Mapping[str, str]:
        """Variables that it needs beside ours."""

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """The endpoint with what the ready server says of itself over its API, and in its log where there is one."""
