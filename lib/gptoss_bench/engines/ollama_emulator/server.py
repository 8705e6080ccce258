"""Serve Ollama's native API over the embedded llama.cpp: `python -m gptoss_bench.engines.ollama_emulator.server`.

It is not Ollama, and its version says so: "0.0.0-embedded". It lets a laptop run the code that measures an Ollama.
Its figures come from llama.cpp's `timings`, as those of Ollama do since it runs llama.cpp's own server underneath:
prompt_eval_count is cached plus new tokens, the durations are the server's own, in ns, and a zero is left out.
"""

import argparse
import asyncio
import signal
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from datetime import datetime
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
    MOST_REPEATS,
    NAME,
    Form,
    Json,
    NativeForm,
    OpenAIForm,
    Refused,
    figures,
    keep_alive_s,
    loaded_entry,
    model_entry,
    native_question,
    openai_question,
    parse_body,
    shown_entry,
    wrong_format,
)
from gptoss_bench.engines.ollama_emulator.resident import Resident
from gptoss_bench.engines.process import LOOPBACK
from gptoss_bench.engines.server_facts import same_model
from gptoss_client import Decoder, Endpoint, Event, Reply, UsageError, assemble_reply, count_at, object_at, text_at

LARGEST_BODY = 32 * 2**20
_POSTS = ("/api/chat", "/api/generate", "/api/show", "/v1/chat/completions")
_STOPPED = (
    "model runner has unexpectedly stopped, this may be due to resource limitations or an internal error, check ollama "
    "server logs for details"
)
_ERROR_TYPES = {400: "invalid_request_error", 404: "not_found_error"}
_PLAIN, _JSON = "text/plain", "application/json"


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

    @property
    def _openai(self) -> bool:
        return self.request.path.startswith("/v1")

    def get(self) -> None:
        """Answer a question about the server or its models."""
        match self.request.path:
            case "/":
                self._whole(200, b"This is not Ollama; it speaks its API over llama.cpp", f"{_PLAIN}; charset=utf-8")
            case "/api/version":
                self._json(200, {"version": EMULATOR_VERSION})
            case "/api/tags":
                self._json(200, {"models": [self._entry]})
            case "/api/ps":
                self._json(200, {"models": self._loaded()})
            case "/v1/models":
                created = int(datetime.fromisoformat(self._entry["modified_at"]).timestamp())
                entry = {"id": NAME, "object": "model", "created": created, "owned_by": "library"}
                self._json(200, {"object": "list", "data": [entry]})
            case path if path in _POSTS:
                self.set_header("Allow", "POST")
                self._whole(405, b"405 method not allowed", _PLAIN)
            case _:
                self._whole(404, b"404 page not found", _PLAIN)

    head = get

    async def post(self) -> None:
        """Answer a request to a model; what fails before the first line is an error with its HTTP status."""
        try:
            if self.request.path not in _POSTS:
                return self._whole(404, b"404 page not found", _PLAIN)
            await self._post(parse_body(self.request.body, self.request.path))
        except StreamClosedError:
            pass  # the client has closed its connection
        except Refused as refused:
            self._error(refused)
        except (UsageError, httpx.HTTPError) as error:
            self._error(Refused(500, str(error) if isinstance(error, UsageError) else _STOPPED, in_stream=True))

    async def _post(self, question: Json) -> None:
        path = self.request.path
        model = str(question.get("model") or question.get("name") or "")
        if not model:
            raise Refused(400, "model is required")
        if not same_model(model, NAME):
            shown = model if path != "/api/show" or ":" in model else f"{model}:latest"
            raise Refused(404, f"model '{shown}' not found")
        if path == "/api/show":
            return self._json(200, shown_entry(self._entry))
        form: Form
        if self._openai:
            if not question.get("messages"):
                raise Refused(400, "[] is too short - 'messages'")
            wants_usage = object_at(question, "stream_options").get("include_usage") is True
            form, streaming = OpenAIForm(model, include_usage=wants_usage), question.get("stream") is True
            return await self._reply(form, openai_question(question), self._context, KEEP_S, streaming=streaming)
        chat, keep_s = path == "/api/chat", keep_alive_s(question.get("keep_alive"))
        native = NativeForm(model, chat=chat)
        if not question.get("messages" if chat else "prompt"):
            return await self._load_or_drop(native, self._asked_context(question), keep_s)
        upstream, streaming = native_question(question, chat=chat), question.get("stream") is not False
        await self._reply(native, upstream, self._asked_context(question), keep_s, streaming=streaming, native=question)

    def _asked_context(self, question: Json) -> int:
        return int((question.get("options") or {}).get("num_ctx") or self._context)

    async def _load_or_drop(self, native: NativeForm, context: int, keep_s: float) -> None:
        if keep_s == 0:
            await self._resident.drop()
        else:
            async with self._resident.loaded(context, keep_s):
                pass
        self._json(200, native.line(done=True, done_reason="load" if keep_s else "unload"))

    async def _reply(
        self, form: Form, upstream: Json, context: int, keep_s: float, *, streaming: bool, native: Json | None = None
    ) -> None:
        """Answer a request to the model; `native` is the request to Ollama's own API."""
        native = native or {}
        async with self._resident.loaded(context, keep_s) as endpoint:
            load_s = time.perf_counter() - self._began_s
            reply, ending = await self._relay(endpoint, upstream, form, native, streaming=streaming)
            measured = figures(reply.timings, load_s, time.perf_counter() - self._began_s)
            if self.request.path == "/api/generate" and ending == "done":
                measured = {"context": await self._token_ids(endpoint, upstream, reply), **measured}
        if ending not in ("done", "given up"):
            if not self._headers_written:
                raise Refused(500, ending, in_stream=True)
            self.finish(form.broken() if ending == _STOPPED else msgspec.json.encode({"error": ending}) + b"\n")
        elif not streaming:
            self._json(200, form.whole(reply, measured, done=ending == "done"))
        else:
            self.finish(form.end(reply, measured) if ending == "done" else b"")

    async def _relay(
        self, endpoint: Endpoint, question: Json, form: Form, native: Json, *, streaming: bool
    ) -> tuple[Reply, str]:
        """Ask llama.cpp and send each token at once if `streaming`; return the reply and how it ended.

        That is "done", "given up" (too many equal tokens), or the text of an error.
        """
        events: list[Event] = []
        wrong, repeats, before = wrong_format(native.get("format")), 0, ""
        try:
            async with self._upstream(endpoint, question, cut=native.get("truncate") is not False) as response:
                decoder = Decoder()
                async for piece in response.aiter_raw():
                    for event in decoder.feed(piece):
                        text = (event.answer or event.reasoning).strip()
                        repeats = repeats + 1 if event.is_output and text == before else 0
                        if repeats > MOST_REPEATS:
                            return assemble_reply(events), "given up"
                        if wrong and event.answer:
                            return assemble_reply(events), wrong
                        events.append(event)
                        before = text
                        if streaming and event.is_output:
                            await self._send(form.token(event.answer, event.reasoning), form.content_type)
        except httpx.TransportError:
            return assemble_reply(events), _STOPPED
        reply = assemble_reply(events)
        if streaming and not self._headers_written:
            await self._send(b"", form.content_type)
        return reply, reply.error or "done"

    @asynccontextmanager
    async def _upstream(self, endpoint: Endpoint, question: Json, *, cut: bool) -> AsyncIterator[httpx.Response]:
        """Yield llama.cpp's response; a prompt that is too long is cut in silence if `cut`. Raises Refused."""
        for may_cut in (cut, False):
            body = {**question, "model": endpoint.model}
            async with self._http.stream("POST", f"{endpoint.url}/v1/chat/completions", json=body) as response:
                if response.status_code == 200:
                    yield response
                    return
                text = (await response.aread()).decode("utf-8", "replace")
            error = object_at(response.json(), "error")
            too_long = error.get("type") == "exceed_context_size_error"
            if not (may_cut and too_long):
                words = text if too_long else text_at(error, "message") or text
                raise Refused(response.status_code, words, in_stream=True)
            question = await self._shortened(endpoint, question, error)

    async def _shortened(self, endpoint: Endpoint, question: Json, error: Json) -> Json:
        """Return a question of half the context: the last message keeps its end."""
        *first, last = question["messages"]
        over = (count_at(error, "n_prompt_tokens") or 0) - (count_at(error, "n_ctx") or 0) // 2 - 2
        tokens = (await self._ask(endpoint, "/tokenize", {"content": last["content"]}))["tokens"]
        content = (await self._ask(endpoint, "/detokenize", {"tokens": tokens[over:]}))["content"]
        return {**question, "messages": [*first, {**last, "content": content}]}

    async def _token_ids(self, endpoint: Endpoint, question: Json, reply: Reply) -> list[int]:
        """Return the ids of prompt and reply: the `context` that /api/generate gives back."""
        prompt = (await self._ask(endpoint, "/apply-template", question))["prompt"]
        thought = f"<|channel|>analysis<|message|>{reply.reasoning_text}"
        answer = f"<|end|><|start|>assistant<|channel|>final<|message|>{reply.answer_text}" if reply.answer_text else ""
        found = await self._ask(endpoint, "/tokenize", {"content": prompt + thought + answer, "parse_special": True})
        return list(found["tokens"])

    async def _ask(self, endpoint: Endpoint, path: str, question: Json) -> Json:
        answer: Json = (await self._http.post(f"{endpoint.url}{path}", json=question)).raise_for_status().json()
        return answer

    def _loaded(self) -> list[Json]:
        if self._resident.endpoint is None:
            return []
        return [loaded_entry(self._entry, self._resident.context, round(self._resident.expires_at * 1e9))]

    def _error(self, refused: Refused) -> None:
        """Send an error with its status; after the head of a stream only the end of the connection is left."""
        if self._headers_written:
            self._stream.close()
            return
        kind, words = _ERROR_TYPES.get(refused.status, "api_error"), str(refused)
        error = {"message": words, "type": kind, "param": None, "code": None} if self._openai else words
        self._json(refused.status, {"error": error}, charset=not refused.in_stream)

    def _json(self, status: int, answer: object, *, charset: bool = True) -> None:
        body = msgspec.json.encode(answer)
        if self._openai:
            self._whole(status, body + b"\n", _JSON)
        else:
            self._whole(status, body, f"{_JSON}; charset=utf-8" if charset else _JSON)

    def _whole(self, status: int, body: bytes, content_type: str) -> None:
        self.set_status(status)
        self.set_header("Content-Type", content_type)
        self.finish(body)

    async def _send(self, piece: bytes, content_type: str) -> None:
        """Send one piece at once, as one HTTP chunk. Raises StreamClosedError if the client has gone."""
        if not self._headers_written:
            self.set_header("Content-Type", content_type)
        self.write(piece)
        await self.flush()


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


async def _serve(port: int, context: int, slots: int, log_dir: Path, max_queue: int) -> None:
    resident = Resident(log_dir, slots, max_queue)
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
    parser.add_argument("--max-queue", type=int, default=512, help="requests that wait for loading: OLLAMA_MAX_QUEUE")
    chosen = parser.parse_args()
    asyncio.run(_serve(chosen.port, chosen.context, chosen.slots, chosen.log_dir, chosen.max_queue))


if __name__ == "__main__":
    main()
