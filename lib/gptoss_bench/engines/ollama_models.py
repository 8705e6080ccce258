"""The models of a running Ollama: pulled with progress, and dropped from memory for a cold start."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from typing import Any

import httpx

from gptoss_bench.client import request_headers
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.asking import same_model
from gptoss_bench.errors import RunFailed, UsageError

Pulled = Callable[[str, int, int], None]  # what it does, bytes that are here, bytes in all (0 where not known)
_SILENCE_S = 120.0


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


async def pull(url: str, model: str, progress: Pulled) -> None:
    """Have the Ollama at `url` fetch a model, and tell `progress` how far each of its files is.

    Raises UsageError where nothing answers or the registry has no such model, RunFailed where the pull breaks off.
    """
    headers = request_headers(keep_alive=False)
    try:
        async with (
            httpx.AsyncClient(base_url=url, headers=headers, timeout=_SILENCE_S, trust_env=False) as http,
            http.stream("POST", "/api/pull", json={"model": model, "stream": True}) as answer,
        ):
            last = ""
            async for line in _lines(answer):
                if error := line.get("error"):
                    raise UsageError(f"{url} cannot pull {model}: {error}")
                last = str(line.get("status") or "")
                progress(last, int(line.get("completed") or 0), int(line.get("total") or 0))
    except httpx.ConnectError as error:
        raise UsageError(f"nothing answers at {url} ({error}): start it with: ollama serve") from None
    except httpx.HTTPError as error:
        raise RunFailed(f"the pull of {model} broke off ({str(error) or type(error).__name__}): pull again") from None
    if last != "success":
        raise RunFailed(f"the pull of {model} ended without success (last: {last or 'nothing'}): pull again")


async def _lines(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream of lines; an answer that is no such line is an error of that status."""
    async for text in answer.aiter_lines():
        try:
            line = json.loads(text or "{}")
        except ValueError:
            line = {"error": f"HTTP {answer.status_code}: {text[:200]}"}
        yield line if isinstance(line, dict) else {"error": f"HTTP {answer.status_code}"}


async def _loaded(http: httpx.AsyncClient) -> list[str]:
    answer = await http.get("/api/ps")
    return [str(model.get("name")) for model in answer.json().get("models") or []]
