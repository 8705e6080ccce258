"""Serve Ollama's native API over the embedded llama.cpp: `python -m gptoss_bench.engines.ollama_emulator.server`.

It is not Ollama, and its version says so: "0.0.0-embedded". It lets a laptop run the code that measures an Ollama.
Its figures come from llama.cpp's `timings`, as those of Ollama do since it runs llama.cpp's own server underneath:
prompt_eval_count is cached plus new tokens, the durations are the server's own, in ns, and a zero is left out.
"""

import argparse
import asyncio
import json
import signal
import time
from contextlib import AbstractAsyncContextManager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import httpx
import msgspec
from tornado.http1connection import HTTP1Connection
from tornado.httpserver import HTTPServer
from tornado.iostream import IOStream, StreamClosedError
from tornado.netutil import bind_sockets
from tornado.web import Application, RequestHandler

from gptoss_bench.engines.ollama_emulator.messages import (
    EMULATOR_VERSION,
    KEEP_S,
    NAME,
    Json,
    Line,
    figures,
    keep_alive_s,
    model_entry,
    upstream_request,
)
from gptoss_bench.engines.ollama_emulator.resident import Resident
from gptoss_bench.engines.process import LOOPBACK
from gptoss_bench.engines.server_facts import same_model
from gptoss_client import Decoder, Endpoint, Event, Reply, UsageError, assemble_reply, decode_body

LARGEST_BODY = 32 * 2**20


class OllamaHandler(RequestHandler):
    """One request to the routes of Ollama's API that a benchmark touches."""

    def initialize(self, resident: Resident, context: int, entry: Json, http: httpx.AsyncClient) -> None:
        """Take the model, the tokens of a slot where num_ctx is not given, its entry in lists, and the HTTP client."""
        self._resident, self._context, self._entry, self._http = resident, context, entry, http
        self._began_s = time.perf_counter()
        # tornado turns Nagle's algorithm on between requests: a token must not wait for the client's ACK of the last.
        self._stream.set_nodelay(True)

    @property
    def _stream(self) -> IOStream:
        connection = self.request.connection
        assert isinstance(connection, HTTP1Connection)
        return connection.stream

    def get(self) -> None:
        """Answer a question about the server or its models."""
        match self.request.path:
            case "/":
                self._text(200, "This is not Ollama; it speaks its API over llama.cpp")
            case "/api/version":
                self._json(200, {"version": EMULATOR_VERSION})
            case "/api/tags":
                self._json(200, {"models": [self._entry]})
            case "/api/ps":
                self._json(200, {"models": self._loaded()})
            case "/v1/models":
                self._json(200, {"object": "list", "data": [{"id": NAME, "object": "model"}]})
            case _:
                self._text(404, "404 page not found")

    head = get

    async def post(self) -> None:
        """Answer a request to a model; what fails before the first line is an error with its HTTP status."""
        try:
            question = json.loads(self.request.body or b"{}")
            if not isinstance(question, dict):
                raise ValueError("the body is no JSON object")
            await self._post(question)
        except StreamClosedError:
            pass  # the client has closed its connection
        except ValueError as error:
            self._json(400, {"error": str(error)})
        except UsageError as error:
            self._json(500, {"error": str(error)})
        except httpx.TransportError as error:
            if self._headers_written:
                self._stream.close()  # the client sees a body that was cut
            else:
                self._json(500, {"error": {"message": _broke_off(error), "type": "server_error"}})

    async def _post(self, question: Json) -> None:
        path = self.request.path
        if path not in ("/api/chat", "/api/generate", "/api/show", "/v1/chat/completions"):
            return self._text(404, "404 page not found")
        model = str(question.get("model") or question.get("name") or "")
        if not model:
            return self._json(400, {"error": "model is required"})
        if not same_model(model, NAME):
            words = f"model '{model}' not found"
            openai = {"error": {"message": words, "type": "not_found_error", "param": None, "code": None}}
            return self._json(404, openai if path.startswith("/v1") else {"error": words})
        if path == "/api/show":
            return self._json(200, {**self._entry, "capabilities": ["completion", "thinking"]})
        if path == "/v1/chat/completions":
            return await self._pass_on(question)
        return await self._reply(question, model)

    async def _pass_on(self, question: Json) -> None:
        """Answer OpenAI's API with llama.cpp's own response, unchanged."""
        async with (
            self._resident.loaded(self._context, KEEP_S) as endpoint,
            self._upstream(endpoint, question) as response,
        ):
            if response.status_code != 200 or not question.get("stream"):
                await response.aread()
                return self._json(response.status_code, response.json())
            await self._begin(response.headers["content-type"])
            async for piece in response.aiter_raw():
                await self._send(piece)

    async def _reply(self, question: Json, model: str) -> None:
        """Answer /api/chat and /api/generate."""
        chat = self.request.path == "/api/chat"
        keep_s = keep_alive_s(question.get("keep_alive"))
        options = question.get("options") or {}
        line = Line(model, chat)
        if not question.get("messages" if chat else "prompt"):
            return await self._load_or_drop(line, keep_s)
        async with self._resident.loaded(int(options.get("num_ctx") or self._context), keep_s) as endpoint:
            load_s = time.perf_counter() - self._began_s
            streaming = bool(question.get("stream", True))
            upstream = upstream_request(question, options, chat)
            status, reply = await self._relay(endpoint, upstream, line if streaming else None)
        if reply.error is not None:
            last: Json = {"error": reply.error}
        else:
            texts = ("", "") if streaming else (reply.answer_text, reply.reasoning_text)
            measured = figures(reply.timings, load_s, time.perf_counter() - self._began_s)
            last = line(*texts, done=True, done_reason=reply.finish_reason or "stop", **measured)
        if not self._headers_written:
            return self._json(status, last)
        return await self._send(msgspec.json.encode(last) + b"\n")

    async def _load_or_drop(self, line: Line, keep_s: float) -> None:
        if keep_s == 0:
            await self._resident.drop()
        else:
            async with self._resident.loaded(self._context, keep_s):
                pass
        self._json(200, line("", "", done=True, done_reason="load" if keep_s else "unload"))

    async def _relay(self, endpoint: Endpoint, question: Json, line: Line | None) -> tuple[int, Reply]:
        """Ask llama.cpp and send each token at once where `line` is given; return status and whole reply."""
        events: list[Event] = []
        try:
            async with self._upstream(endpoint, question) as response:
                if response.status_code != 200:
                    return response.status_code, assemble_reply(decode_body([await response.aread()]))
                if line is not None:
                    await self._begin("application/x-ndjson")
                decoder = Decoder()
                async for piece in response.aiter_raw():
                    for event in decoder.feed(piece):
                        events.append(event)
                        if line is not None and event.is_output:
                            token = line(event.answer, event.reasoning, done=False)
                            await self._send(msgspec.json.encode(token) + b"\n")
        except httpx.TransportError as error:
            events.append(Event(0, "error", error=_broke_off(error)))
        reply = assemble_reply(events)
        return 200 if reply.error is None else 500, reply

    def _upstream(self, endpoint: Endpoint, question: Json) -> AbstractAsyncContextManager[httpx.Response]:
        question = {**question, "model": endpoint.model}
        return self._http.stream("POST", f"{endpoint.url}/v1/chat/completions", json=question)

    def _loaded(self) -> list[Json]:
        if self._resident.endpoint is None:
            return []
        expires_at = datetime.fromtimestamp(self._resident.expires_at, UTC).isoformat()
        more = {"expires_at": expires_at, "size_vram": 0, "context_length": self._resident.context}
        return [{**self._entry, **more}]

    def _json(self, status: int, answer: object) -> None:
        self._whole(status, msgspec.json.encode(answer), "application/json; charset=utf-8")

    def _text(self, status: int, answer: str) -> None:
        self._whole(status, answer.encode(), "text/plain; charset=utf-8")

    def _whole(self, status: int, body: bytes, content_type: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.finish(body)

    async def _begin(self, content_type: str) -> None:
        """Send the head of a response that is sent piece by piece."""
        self.set_header("Content-Type", content_type)
        await self.flush()

    async def _send(self, piece: bytes) -> None:
        """Send one piece at once, as one HTTP chunk. Raises StreamClosedError if the client has gone."""
        self.write(piece)
        await self.flush()


def _broke_off(error: httpx.TransportError) -> str:
    return f"the model server broke off ({type(error).__name__})"


def listen(resident: Resident, context: int, port: int) -> tuple[HTTPServer, int]:
    """Serve `resident` on 127.0.0.1 with `context` tokens a slot where num_ctx is not given; return server and port.

    Port 0 is any free one. Call it in a running event loop. Raises UsageError where the tiny model is missing.
    """
    # llama.cpp closes after each stream although it says that it would not.
    http = httpx.AsyncClient(timeout=600.0, trust_env=False, verify=False, headers={"Connection": "close"})
    shared: dict[str, Any] = {"resident": resident, "context": context, "entry": model_entry(), "http": http}
    application = Application([(".*", OllamaHandler, shared)], log_function=lambda handler: None)
    server = HTTPServer(application, max_body_size=LARGEST_BODY)
    sockets = bind_sockets(port, LOOPBACK, backlog=512)
    server.add_sockets(sockets)
    return server, sockets[0].getsockname()[1]


async def _serve(port: int, context: int, slots: int, log_dir: Path) -> None:
    resident = Resident(log_dir, slots)
    ended = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(number, ended.set)
    server, port = listen(resident, context, port)
    print(f"Ollama's API over llama.cpp at http://{LOOPBACK}:{port}", flush=True)
    await ended.wait()
    server.stop()
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
