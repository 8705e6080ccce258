"""The kit's own paced server as a child process: the truth against which the client is measured."""

import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import fields
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.describe import TRUTH
from gptoss_bench.engines.launch import launched
from gptoss_bench.truth_plan import TruthPlan
from gptoss_bench.truth_words import MODEL


@asynccontextmanager
async def serve_truth(
    plan: TruthPlan, log_dir: Path, *, dialect: str = "openai", port: int = 0, timeout_s: float = 60.0
) -> AsyncIterator[Endpoint]:
    """Serve `plan` for the length of the block; truth.parquet is in `log_dir` once it has ended.

    The token that shows it ready is stream 0. Raises UsageError where the port is taken or no token comes back.
    """

    def command(chosen: int) -> list[str]:
        files = [f"--port={chosen}", f"--log={log_dir / 'truth.parquet'}"]
        return [sys.executable, "-m", "gptoss_bench", "truth-server", *files, *options(plan)]

    draft = Endpoint(url="", model=MODEL, dialect=dialect, engine=TRUTH)
    async with launched(command, draft, log_dir / "truth-server.log", port=port, timeout_s=timeout_s) as endpoint:
        yield endpoint


def options(plan: TruthPlan) -> list[str]:
    """The plan as options of the command `truth-server`; what is as by default is left out."""
    texts = []
    for entry in fields(plan):
        value = getattr(plan, entry.name)
        if value != entry.default:
            flag = f"--{entry.name.replace('_', '-')}"
            texts.append(flag if isinstance(value, bool) else f"{flag}={value}")
    return texts
