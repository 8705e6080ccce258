"""The server of Hugging Face transformers, where it is installed with what serving needs."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.launch import executable, launched

DEFAULT_MODEL = "openai/gpt-oss-20b"


@asynccontextmanager
async def serve_transformers(model: str, log_dir: Path, *, port: int = 0, timeout_s: float) -> AsyncIterator[Endpoint]:
    """Run `transformers serve` for the length of the block. Its API tells neither version nor quantisation.

    Raises UsageError where there is no `transformers` on PATH and where no token comes back within `timeout_s`.
    """
    model = model or DEFAULT_MODEL
    program = executable("transformers", "install it (pip install 'transformers[serving]')")

    def command(chosen: int) -> list[str]:
        return [program, "serve", model, "--host", "127.0.0.1", "--port", str(chosen)]

    draft = Endpoint(url="", model=model, dialect="openai", engine="transformers")
    async with launched(command, draft, log_dir / "transformers.log", port=port, timeout_s=timeout_s) as endpoint:
        yield endpoint
