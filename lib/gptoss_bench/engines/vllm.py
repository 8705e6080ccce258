"""vLLM's own server, where `vllm` is installed."""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.launch import executable, launched

DEFAULT_MODEL = "openai/gpt-oss-20b"


@asynccontextmanager
async def serve_vllm(
    model: str, log_dir: Path, *, context: int | None, port: int = 0, timeout_s: float
) -> AsyncIterator[Endpoint]:
    """Run `vllm serve` for the length of the block, with its own defaults; `context` caps its --max-model-len.

    Raises UsageError where there is no `vllm` on PATH and where no token comes back within `timeout_s`.
    """
    model = model or DEFAULT_MODEL
    program = executable("vllm", "install it (pip install vllm)")
    capped = [] if context is None else ["--max-model-len", str(context)]

    def command(chosen: int) -> list[str]:
        return [program, "serve", model, "--host", "127.0.0.1", "--port", str(chosen), *capped]

    draft = Endpoint(url="", model=model, dialect="openai", engine="vllm")
    async with launched(command, draft, log_dir / "vllm.log", port=port, timeout_s=timeout_s) as endpoint:
        yield endpoint
