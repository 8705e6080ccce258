"""Ollama: the real one launched or, where a laptop has none, our front that speaks its API over llama.cpp."""

import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import httpx

from gptoss_bench.client import request_headers
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.describe import same_model
from gptoss_bench.engines.launch import executable, launched
from gptoss_bench.engines.local import MODEL_NAME, require_tiny
from gptoss_bench.errors import RunFailed, UsageError

DEFAULT_MODEL = "gpt-oss:20b"


@asynccontextmanager
async def serve_ollama(
    model: str, log_dir: Path, *, slots: int, context: int | None, port: int = 0, timeout_s: float
) -> AsyncIterator[Endpoint]:
    """Run `ollama serve` for the length of the block, `slots` requests at a time.

    `context` None leaves its size to Ollama, which goes by the GPU's memory. Raises UsageError where there is no
    `ollama` on PATH, where the model was not pulled, and where no token comes back within `timeout_s`.
    """
    model = model or DEFAULT_MODEL
    program = executable("ollama", "install it from ollama.com")

    def environment(chosen: int) -> dict[str, str]:
        sized = {} if context is None else {"OLLAMA_CONTEXT_LENGTH": str(context)}
        return {"OLLAMA_HOST": f"127.0.0.1:{chosen}", "OLLAMA_NUM_PARALLEL": str(slots), **sized}

    draft = Endpoint(url="", model=model, dialect="ollama", engine="ollama", facts={"num_parallel": slots})
    log = log_dir / "ollama.log"
    async with launched(
        lambda _port: [program, "serve"], draft, log, port=port, environment=environment, timeout_s=timeout_s
    ) as endpoint:
        yield endpoint


@asynccontextmanager
async def serve_front(
    log_dir: Path, *, slots: int, context: int = 2048, port: int = 0, timeout_s: float = 60.0
) -> AsyncIterator[Endpoint]:
    """Run our front for the length of the block. It loads the tiny model as Ollama would: when it is asked first.

    Raises UsageError where the tiny model is missing and where no token comes back within `timeout_s`.
    """
    require_tiny()

    def command(chosen: int) -> list[str]:
        options = {"port": chosen, "slots": slots, "context": context, "log-dir": log_dir}
        texts = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.ollama_front", *texts]

    draft = Endpoint(url="", model=MODEL_NAME, dialect="ollama", engine="ollama", facts={"num_parallel": slots})
    async with launched(command, draft, log_dir / "ollama-front.log", port=port, timeout_s=timeout_s) as endpoint:
        yield endpoint


async def unload(endpoint: Endpoint, *, timeout_s: float = 60.0) -> None:
    """Make an Ollama server drop the endpoint's model; returns when it lists it as loaded no more.

    Raises UsageError where the endpoint speaks no Ollama API, RunFailed where the model stays.
    """
    if endpoint.dialect != "ollama":
        raise UsageError(f"{endpoint.engine} cannot unload a model: a cold start is measured with Ollama's API")
    headers = request_headers(keep_alive=False)
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=timeout_s, trust_env=False) as http,
        ):
            answer = await http.post("/api/generate", json={"model": endpoint.model, "keep_alive": 0})
            answer.raise_for_status()
            while any(same_model(endpoint.model, name) for name in await _loaded(http)):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.05)
    except (httpx.HTTPError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunFailed(f"{endpoint.model} was not unloaded within {timeout_s:g} s: {reason}") from None


async def _loaded(http: httpx.AsyncClient) -> list[str]:
    answer = await http.get("/api/ps")
    return [str(model.get("name")) for model in answer.json().get("models") or []]
