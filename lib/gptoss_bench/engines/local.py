"""The embedded engine: the llama.cpp server of the xllamacpp wheel on the tiny model, as a child process."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from importlib.metadata import version
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.describe import TINY_LABEL
from gptoss_bench.engines.launch import launched
from gptoss_bench.errors import UsageError
from gptoss_bench.paths import TINY_MODEL

MODEL_NAME = "gpt-oss-tiny"
MAKE_MINUTES = 4


@asynccontextmanager
async def serve_tiny(
    log_dir: Path,
    *,
    slots: int = 8,
    context: int = 2048,
    threads: int = 1,
    port: int = 0,
    model: Path = TINY_MODEL,
    timeout_s: float = 60.0,
) -> AsyncIterator[Endpoint]:
    """Serve `model` for the length of the block, `slots` requests at a time with `context` tokens each.

    One thread by default: two on two shared cores wait for each other by spinning. The server's output goes to
    llama-server.log in `log_dir`. Raises UsageError where the model is missing or no file of that kind, where the port
    is taken, and where no token comes back within `timeout_s`.
    """
    require_tiny(model)
    for name, value in (("slots", slots), ("context", context), ("threads", threads)):
        if value < 1:
            raise UsageError(f"{name} must be 1 or more, not {value}")

    def command(chosen: int) -> list[str]:
        options = {"port": chosen, "alias": MODEL_NAME, "slots": slots, "context": context, "threads": threads}
        texts = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.llama_server", str(model), *texts]

    draft = Endpoint(
        url="",
        model=MODEL_NAME,
        dialect="openai",
        engine="llama.cpp",
        version=f"xllamacpp {version('xllamacpp')}",
        label=TINY_LABEL,
        keep_alive=False,
        facts={"threads": threads},
    )
    async with launched(command, draft, log_dir / "llama-server.log", port=port, timeout_s=timeout_s) as endpoint:
        yield endpoint


def require_tiny(model: Path = TINY_MODEL) -> None:
    """Raise UsageError where the tiny model is not there."""
    if not model.is_file():
        raise UsageError(f"the tiny model {model} is missing: make model makes it again (about {MAKE_MINUTES} minutes)")
