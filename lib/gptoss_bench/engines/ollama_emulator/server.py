"""Serve Ollama's native API over the embedded llama.cpp: `python -m gptoss_bench.engines.ollama_emulator.server`.

It is not Ollama, and says so: its version is "0.0.0-embedded". It lets a laptop run the code that measures an Ollama.
Its figures come from llama.cpp's `timings`, as those of Ollama do since it runs llama.cpp's own server underneath:
prompt_eval_count is cached plus new tokens, the durations are the server's own, in ns, and a zero is left out.
"""

import argparse
import asyncio
import contextlib
import signal
import time
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path

import httpx

from gptoss_bench.engines.ollama_emulator.http import Exchange, compact, listen
from gptoss_bench.engines.ollama_emulator.messages import (
    EMULATOR_VERSION,
    KEEP_S,
    NAME,
    Json,
    Line,
    figures,
    keep_alive_s,
    model_entry,
    pull_lines,
    upstream_request,
)
from gptoss_bench.engines.ollama_emulator.resident import Resident
from gptoss_bench.engines.process import LOOPBACK
from gptoss_bench.engines.server_facts import same_model
from gptoss_client import Decoder, Endpoint, Event, Reply, UsageError, assemble_reply, decode_body


class Emulator:
    """The routes of Ollama's API that a benchmark touches."""

    def __init__(self, resident: Resident, context: int) -> None:
        """Serve `resident`, with `context` tokens a slot where a request does not say num_ctx."""
        self._resident = resident
        self._context = context
        self._entry = model_entry()
        # llama.cpp closes after each stream although it says that it would not.
        self._http = httpx.AsyncClient(timeout=600.0, trust_env=False, verify=False, headers={"Connection": "close"})

    async def answer(self, exchange: Exchange) -> None:
        """Answer one request, whatever it is."""
        began = time.perf_counter()
        try:
            if exchange.method == "POST":
                await self._post(exchange, exchange.question(), began)
            else:
                await self._get(exchange)
        except ValueError as error:
            await exchange.json(400, {"error": str(error)})
        except UsageError as error:
            await exchange.json(500, {"error": str(error)})
        except httpx.TransportError as error:
            if exchange.begun:
                raise ConnectionAbortedError from error  # the client is to see a body that was cut
            await exchange.json(500, {"error": {"message": _broke_off(error), "type": "server_error"}})

    async def _get(self, exchange: Exchange) -> None:
        match exchange.path:
            case "/":
                await exchange.text(200, "This is not Ollama; it speaks its API over llama.cpp")
            case "/api/version":
                await exchange.json(200, {"version": EMULATOR_VERSION})
            case "/api/tags":
                await exchange.json(200, {"models": [self._entry]})
            case "/api/ps":
                await exchange.json(200, {"models": self._loaded()})
            case "/v1/models":
                await exchange.json(200, {"object": "list", "data": [{"id": NAME, "object": "model"}]})
            case _:
                await exchange.text(404, "404 page not found")

    async def _post(self, exchange: Exchange, question: Json, began: float) -> None:  # noqa: PLR0911 - a route each
        if exchange.path not in ("/api/chat", "/api/generate", "/api/show", "/api/pull", "/v1/chat/completions"):
            return await exchange.text(404, "404 page not found")
        model = str(question.get("model") or question.get("name") or "")
        if not model:
            return await exchange.json(400, {"error": "model is required"})
        if exchange.path == "/api/pull":
            return await self._pull(exchange, model)
        if not same_model(model, NAME):
            words = f"model '{model}' not found"
            openai = {"error": {"message": words, "type": "not_found_error", "param": None, "code": None}}
            return await exchange.json(404, openai if exchange.path.startswith("/v1") else {"error": words})
        if exchange.path == "/api/show":
            return await exchange.json(200, {**self._entry, "capabilities": ["completion", "thinking"]})
        if exchange.path == "/v1/chat/completions":
            return await self._pass_on(exchange, question)
        return await self._speak(exchange, question, model, began)

    async def _pull(self, exchange: Exchange, model: str) -> None:
        """Answer a pull: the tiny model is complete at once, any other model is unknown."""
        await exchange.begin("application/x-ndjson")
        for line in pull_lines(self._entry, model):
            await exchange.send(compact(line) + b"\n")
        await exchange.end()

    async def _pass_on(self, exchange: Exchange, question: Json) -> None:
        """OpenAI's API is llama.cpp's own answer, as it is."""
        async with (
            self._resident.loaded(self._context, KEEP_S) as endpoint,
            self._upstream(endpoint, question) as response,
        ):
            if response.status_code != 200 or not question.get("stream"):
                await response.aread()
                return await exchange.json(response.status_code, response.json())
            await exchange.begin(response.headers["content-type"])
            async for piece in response.aiter_raw():
                await exchange.send(piece)
            await exchange.end()

    async def _speak(self, exchange: Exchange, question: Json, model: str, began: float) -> None:
        """/api/chat and /api/generate."""
        chat = exchange.path == "/api/chat"
        keep_s = keep_alive_s(question.get("keep_alive"))
        options = question.get("options") or {}
        line = Line(model, chat)
        if not question.get("messages" if chat else "prompt"):
            return await self._load_or_drop(exchange, line, keep_s)
        async with self._resident.loaded(int(options.get("num_ctx") or self._context), keep_s) as endpoint:
            load_s = time.perf_counter() - began
            streaming = bool(question.get("stream", True))
            upstream = upstream_request(question, options, chat)
            status, said = await self._relay(exchange, endpoint, upstream, line if streaming else None)
        if said.error is not None:
            last: Json = {"error": said.error}
        else:
            texts = ("", "") if streaming else (said.answer_text, said.reasoning_text)
            measured = figures(said.timings, load_s, time.perf_counter() - began)
            last = line(*texts, done=True, done_reason=said.finish_reason or "stop", **measured)
        if not exchange.begun:
            return await exchange.json(status, last)
        await exchange.send(compact(last) + b"\n")
        await exchange.end()

    async def _load_or_drop(self, exchange: Exchange, line: Line, keep_s: float) -> None:
        if keep_s == 0:
            await self._resident.drop()
        else:
            async with self._resident.loaded(self._context, keep_s):
                pass
        await exchange.json(200, line("", "", done=True, done_reason="load" if keep_s else "unload"))

    async def _relay(
        self, exchange: Exchange, endpoint: Endpoint, question: Json, line: Line | None
    ) -> tuple[int, Reply]:
        """Ask llama.cpp and pass each token on at once where `line` is given; return status and whole reply."""
        events: list[Event] = []
        try:
            async with self._upstream(endpoint, question) as response:
                if response.status_code != 200:
                    return response.status_code, assemble_reply(decode_body([await response.aread()]))
                if line is not None:
                    await exchange.begin("application/x-ndjson")
                decoder = Decoder()
                async for piece in response.aiter_raw():
                    for event in decoder.feed(piece):
                        events.append(event)
                        if line is not None and event.is_output:
                            await exchange.send(compact(line(event.answer, event.reasoning, done=False)) + b"\n")
        except httpx.TransportError as error:
            events.append(Event(0, "error", error=_broke_off(error)))
        said = assemble_reply(events)
        return 200 if said.error is None else 500, said

    @contextlib.asynccontextmanager
    async def _upstream(self, endpoint: Endpoint, question: Json) -> AsyncIterator[httpx.Response]:
        question = {**question, "model": endpoint.model}
        async with self._http.stream("POST", f"{endpoint.url}/v1/chat/completions", json=question) as response:
            yield response

    def _loaded(self) -> list[Json]:
        if self._resident.endpoint is None:
            return []
        expires_at = datetime.fromtimestamp(self._resident.expires_at, UTC).isoformat()
        more = {"expires_at": expires_at, "size_vram": 0, "context_length": self._resident.context}
        return [{**self._entry, **more}]


def _broke_off(error: httpx.TransportError) -> str:
    return f"the model server broke off ({type(error).__name__})"


async def _serve(port: int, context: int, slots: int, log_dir: Path) -> None:
    resident = Resident(log_dir, slots)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server = await listen(LOOPBACK, port, Emulator(resident, context).answer)
    print(f"Ollama's API over llama.cpp at http://{LOOPBACK}:{port}", flush=True)
    await ended.wait()
    server.close()
    await resident.close()


def main() -> None:
    """Serve until SIGINT or SIGTERM."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--context", type=int, default=2048, help="tokens of one slot where num_ctx is not given")
    parser.add_argument("--slots", type=int, default=1, help="requests at a time: Ollama's OLLAMA_NUM_PARALLEL")
    parser.add_argument("--log-dir", type=Path, required=True)
    chosen = parser.parse_args()
    asyncio.run(_serve(chosen.port, chosen.context, chosen.slots, chosen.log_dir))


if __name__ == "__main__":
    main()
