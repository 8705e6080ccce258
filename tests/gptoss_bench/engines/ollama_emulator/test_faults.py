"""The front before a model server that fails: an error line, a 500 or a cut body, as an Ollama would."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from gptoss_bench.engines.ollama import unload
from gptoss_bench.engines.ollama_emulator.server import listen
from gptoss_bench.engines.process import LOOPBACK
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import assemble_reply
from gptoss_client.errors import RunFailed
from gptoss_client.trace import Endpoint
from scripted import HEAD, Exchange, chunk, event, scripted

HELLO = [{"role": "user", "content": "Hello"}]


def test_unload_says_so_where_the_server_is_gone():
    async def gone() -> None:
        async with fronting(speak_and_fall_silent) as endpoint:
            pass
        await unload(endpoint, timeout_s=5)

    with pytest.raises(RunFailed, match="was not unloaded within 5 s"):
        asyncio.run(gone())


async def speak_and_break_off(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(reasoning_content="so")), b"ff\r\n")
    exchange.writer.close()


async def speak_and_fall_silent(exchange: Exchange) -> None:
    await exchange.send(HEAD, chunk(event(reasoning_content="so")))
    await asyncio.sleep(600)


async def hang_up(exchange: Exchange) -> None:
    exchange.writer.close()


class Lent:
    """In the place of the loaded model: a model server that fails in a way that a test has written down."""

    endpoint: Endpoint
    context = 1024
    expires_at = 0.0

    @contextlib.asynccontextmanager
    async def loaded(self, context: int, keep_s: float) -> AsyncIterator[Endpoint]:
        yield self.endpoint


@contextlib.asynccontextmanager
async def fronting(answer: Callable) -> AsyncIterator[Endpoint]:
    """The front in this process, before a scripted model server."""
    lent = Lent()
    async with scripted(answer) as model_server:
        lent.endpoint = model_server.endpoint
        server, port = listen(lent, 1024, 0)
        yield Endpoint(url=f"http://{LOOPBACK}:{port}", model="gpt-oss-tiny", dialect="ollama", engine="ollama")
        server.stop()
        await server.close_all_connections()


async def answer_of(answer: Callable, path: str, question: dict) -> tuple[int, bytes, str | None]:
    """Status and body that a client gets, and how its connection failed if it did."""
    async with fronting(answer) as endpoint, httpx.AsyncClient(base_url=endpoint.url) as http:
        body = b""
        async with http.stream("POST", path, json={"model": endpoint.model} | question) as response:
            try:
                async for piece in response.aiter_raw():
                    body += piece
            except httpx.RemoteProtocolError as error:
                return response.status_code, body, str(error)
        return response.status_code, body, None


def test_a_model_server_that_breaks_off_in_the_stream_is_an_error_line():
    status, body, failure = asyncio.run(answer_of(speak_and_break_off, "/api/chat", {"messages": HELLO}))
    said = assemble_reply(decode_body([body]))
    assert (status, failure, said.reasoning_text, said.ended) == (200, None, "so", False)
    assert json.loads(body.splitlines()[-1]) == {"error": "the model server broke off (RemoteProtocolError)"}


@pytest.mark.parametrize("question", [{"messages": HELLO}, {"messages": HELLO, "stream": False}])
def test_a_model_server_that_breaks_off_before_it_is_a_500(question):
    status, body, _ = asyncio.run(answer_of(hang_up, "/api/chat", question))
    assert (status, json.loads(body)) == (500, {"error": "the model server broke off (RemoteProtocolError)"})


def test_openais_stream_is_cut_where_the_model_servers_was():
    question = {"messages": HELLO, "stream": True}
    status, body, failure = asyncio.run(answer_of(speak_and_break_off, "/v1/chat/completions", question))
    assert status == 200 and b'"so"' in body
    assert "without sending complete message body" in failure
