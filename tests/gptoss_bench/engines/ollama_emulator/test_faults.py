"""The front before a model server that fails: an error line, a 500 or a cut body, as an Ollama would."""

import asyncio
import contextlib
import json
from collections.abc import AsyncIterator, Callable

import httpx
import pytest

from gptoss_bench.engines.ollama import unload
from gptoss_bench.engines.ollama_emulator.resident import Resident
from gptoss_bench.engines.ollama_emulator.server import listen
from gptoss_bench.engines.process import LOOPBACK
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import assemble_reply
from gptoss_client.errors import RunFailed
from gptoss_client.trace import Endpoint
from recordings import recorded
from scripted import HEAD, Exchange, chunk, event, scripted

OLLAMA = "ollama-0.33.0-rc2"
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


async def repeat_itself(exchange: Exchange) -> None:
    await exchange.send(HEAD, *(chunk(event(content="a")) for _ in range(60)), b"0\r\n\r\n")


BROKE_OFF = {"error": "an error was encountered while running the model: unexpected EOF"}


def test_a_model_server_that_breaks_off_in_the_stream_is_an_error_line():
    status, body, failure = asyncio.run(answer_of(speak_and_break_off, "/api/chat", {"messages": HELLO}))
    said = assemble_reply(decode_body([body]))
    assert (status, failure, said.reasoning_text, said.ended) == (200, None, "so", False)
    assert json.loads(body.splitlines()[-1]) == BROKE_OFF
    assert json.loads(recorded(f"{OLLAMA}/runner_killed_midstream")[-1]) == BROKE_OFF


@pytest.mark.parametrize("question", [{"messages": HELLO}, {"messages": HELLO, "stream": False}])
def test_a_model_server_that_breaks_off_before_it_is_a_500(question):
    status, body, _ = asyncio.run(answer_of(hang_up, "/api/chat", question))
    assert (status, body) == (500, b"".join(recorded(f"{OLLAMA}/runner_killed_before_first")))


def test_openais_api_swallows_the_error_of_a_model_server():
    """An empty chunk without a model's name, then a clean end: no error, no finish reason, no [DONE]."""
    question = {"messages": HELLO, "stream": True}
    status, body, failure = asyncio.run(answer_of(speak_and_break_off, "/v1/chat/completions", question))
    real = recorded(f"{OLLAMA}/v1_runner_killed_midstream")
    for chunks in (body, b"".join(real)):
        said = assemble_reply(decode_body([chunks]))
        assert (said.error, said.finish_reason, said.ended, said.output_events) == (None, None, False, 1)
        last = json.loads(chunks.split(b"data: ")[-1])
        assert (last["model"], last["choices"][0]["delta"]) == ("", {"content": ""})
    assert (status, failure) == (200, None)


@pytest.mark.parametrize(
    ("path", "name"), [("/api/chat", "repeat_abort_chat"), ("/v1/chat/completions", "repeat_abort_v1")]
)
def test_a_reply_of_equal_tokens_is_given_up_without_a_last_line(path, name):
    status, body, failure = asyncio.run(answer_of(repeat_itself, path, {"messages": HELLO, "stream": True}))
    for data in (body, b"".join(recorded(f"{OLLAMA}/{name}"))):
        said = assemble_reply(decode_body([data]))
        assert (said.error, said.ended, said.completion_tokens, said.timings) == (None, False, None, None)
        assert said.answer_text.endswith("a" * 31) and not said.answer_text.endswith("a" * 32)
    assert (status, failure) == (200, None)


def test_a_reply_that_was_given_up_is_not_done_where_it_is_not_streamed():
    status, body, _ = asyncio.run(answer_of(repeat_itself, "/api/chat", {"messages": HELLO, "stream": False}))
    real = json.loads(b"".join(recorded(f"{OLLAMA}/repeat_abort_chat_nonstream")))
    assert (status, json.loads(body)["done"], real["done"]) == (200, False, False)
    assert json.loads(body).keys() == real.keys()


def test_only_while_the_model_is_loaded_the_queue_has_a_limit(tmp_path):
    """OLLAMA_MAX_QUEUE=2 and eight at once: five are refused while there is no model, none afterwards."""

    async def eight(http: httpx.AsyncClient) -> list[httpx.Response]:
        question = {"model": "gpt-oss-tiny", "messages": HELLO, "options": {"num_predict": 4}, "stream": False}
        return await asyncio.gather(*(http.post("/api/chat", json=question, timeout=240) for _ in range(8)))

    async def cold_and_warm() -> list[list[httpx.Response]]:
        resident = Resident(tmp_path, slots=1, max_queue=2)
        server, port = listen(resident, 512, 0)
        try:
            async with httpx.AsyncClient(base_url=f"http://{LOOPBACK}:{port}") as http:
                return [await eight(http), await eight(http)]
        finally:
            server.stop()
            await resident.close()

    cold, warm = asyncio.run(cold_and_warm())
    busy = [answer for answer in cold if answer.status_code == 503]
    assert (len(busy), {answer.status_code for answer in warm}) == (5, {200})
    assert {answer.content for answer in busy} == {b"".join(recorded(f"{OLLAMA}/max_queue_cold_2"))}
