"""One door to every engine: attached to, embedded or launched, ready when it opens and gone when it closes."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.attaching import attach
from gptoss_bench.engines.local import serve_tiny
from gptoss_bench.engines.ollama import serve_front, serve_ollama
from gptoss_bench.engines.transformers import serve_transformers
from gptoss_bench.engines.vllm import serve_vllm
from gptoss_bench.errors import UsageError

KINDS = ("ollama", "vllm", "transformers")
EMBEDDED_CONTEXT = 2048


@asynccontextmanager
async def open_engine(
    kind: str,
    *,
    embedded: bool,
    url: str,
    model: str,
    log_dir: Path,
    slots: int = 8,
    context: int | None = None,
    timeout_s: float = 900.0,
) -> AsyncIterator[Endpoint]:
    """Yield an endpoint of which a token came back; what was started here is stopped when the block ends.

    With a `url` the server there is attached to and `embedded` counts for nothing. Embedded, the stand-in of that kind
    is started: the front with Ollama's API, or llama.cpp itself; its model is the tiny one, whatever `model` says.
    Else the real engine is launched. `slots` requests are decoded at a time and `context` tokens fit into each, where
    the engine lets itself be told; None leaves the context to the engine. Logs go to `log_dir`.
    Raises UsageError, in one line, where the engine or the model cannot be had.
    """
    if kind not in KINDS:
        raise UsageError(f"the engine {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    if url:
        endpoint = await attach(url, model, "ollama" if kind == "ollama" else "openai", timeout_s=timeout_s)
        yield endpoint
        return
    server: AbstractAsyncContextManager[Endpoint]
    if embedded and kind == "ollama":
        server = serve_front(log_dir, slots=slots, context=context or EMBEDDED_CONTEXT)
    elif embedded:
        server = serve_tiny(log_dir, slots=slots, context=context or EMBEDDED_CONTEXT)
    elif kind == "ollama":
        server = serve_ollama(model, log_dir, slots=slots, context=context, timeout_s=timeout_s)
    elif kind == "vllm":
        server = serve_vllm(model, log_dir, context=context, timeout_s=timeout_s)
    else:
        server = serve_transformers(model, log_dir, timeout_s=timeout_s)
    async with server as endpoint:
        yield endpoint
