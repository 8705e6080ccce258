"""The emulator beside a real Ollama 0.33: the recorded requests of tests/wire, sent again, get answers of one form."""

import asyncio
import json
from dataclasses import replace
from typing import Any

import httpx
import numpy as np
import pytest

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.runs.request_table import derive_tables
from gptoss_client.client import Client
from gptoss_client.decoder import decode_body
from gptoss_client.dialects import Reply, assemble_reply
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import Request, request_body
from gptoss_client.trace import Trace
from recordings import WIRE, body
from serving import held

OLLAMA = "ollama-0.33.0-rc2"
EXCHANGES = json.loads((WIRE / OLLAMA / "exchanges.json").read_text())
STREAMS = ["chat_cold", "chat_warm_same", "generate_stream", "v1_chat_stream_usage", "num_predict_1"]
WHOLE = ["chat_nonstream", "generate_nonstream", "v1_chat_nonstream", "tags", "version", "v1_models", "chat_unload"]
REFUSED = [name for name, one in EXCHANGES.items() if one["status"] >= 400]
BY_FAULT = {"max_queue_cold_2", "runner_killed_before_first"}  # in test_faults.py


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    choice = ServerChoice(engine="ollama", embedded=True, context=4096)
    with held(open_engine(choice, log_dir=tmp_path_factory.mktemp("front"), slots=1)) as endpoint:
        yield endpoint


def asked(front, name: str, **more: Any) -> httpx.Response:
    """Send a recorded request to the emulator."""
    one = EXCHANGES[name]
    content = one["body"] if not more else json.dumps(json.loads(one["body"]) | more)
    return httpx.request(one["method"], f"{front.url}{one['path']}", content=content, timeout=240)


def form(value: Any) -> Any:
    """Return a JSON value without its texts and numbers."""
    if isinstance(value, dict):
        return {key: form(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [form(inner) for inner in value[:1]]
    return value if value is None or isinstance(value, bool) else type(value).__name__


def message_forms(data: bytes) -> list[Any]:
    """Return the forms of the messages of a stream, each once in a row."""
    texts = [text.removeprefix(b"data: ") for text in data.splitlines() if text]
    forms = ["[DONE]" if text == b"[DONE]" else form(json.loads(text)) for text in texts]
    return [one for index, one in enumerate(forms) if not index or one != forms[index - 1]]


def reply_of(data: bytes) -> Reply:
    return assemble_reply(decode_body([data]))


@pytest.fixture(scope="module")
def streamed(front):
    return {name: asked(front, name) for name in STREAMS}


@pytest.mark.parametrize("name", STREAMS)
def test_a_stream_has_the_messages_of_ollamas(streamed, name):
    seen, real = streamed[name], body(f"{OLLAMA}/{name}")
    assert (seen.status_code, seen.headers["content-type"]) == (200, EXCHANGES[name]["headers"]["content-type"])
    assert message_forms(seen.content) == message_forms(real)


@pytest.mark.parametrize("name", STREAMS)
def test_emulator_and_ollama_are_decoded_alike(streamed, name):
    """The same counts, the same durations; as many marks of harmony as there are tokens without a text."""
    seen, real = reply_of(streamed[name].content), reply_of(body(f"{OLLAMA}/{name}"))
    for field in ("prompt_tokens", "completion_tokens", "finish_reason", "error", "ended", "cached_tokens"):
        assert getattr(seen, field) == getattr(real, field)
    assert (seen.timings is None) == (real.timings is None) == name.startswith("v1")
    for reply in (seen, real):
        assert reply.output_events <= reply.completion_tokens
        if reply.timings:
            assert reply.timings.total_s >= reply.timings.load_s + reply.timings.prompt_s + reply.timings.eval_s
            assert reply.timings.wait_s > 0


@pytest.mark.parametrize("name", WHOLE)
def test_an_answer_in_one_piece_has_ollamas_form(front, streamed, name):
    seen, real = asked(front, name), json.loads(body(f"{OLLAMA}/{name}"))
    assert (seen.status_code, seen.headers["content-type"]) == (200, EXCHANGES[name]["headers"]["content-type"])
    assert form(seen.json()) == form(real)
    assert list(seen.json()) == list(real)


def test_the_lists_name_the_model_as_ollama_does(front, streamed):
    tags, shown = asked(front, "tags").json()["models"][0], asked(front, "show").json()
    real_tags = json.loads(body(f"{OLLAMA}/tags"))["models"][0]
    assert (tags["details"], tags["capabilities"]) == (real_tags["details"], real_tags["capabilities"])
    real = json.loads(body(f"{OLLAMA}/show"))
    assert shown.keys() == real.keys()
    assert shown["model_info"].items() <= real["model_info"].items()
    asked(front, "num_predict_1")
    loaded = json.loads(body(f"{OLLAMA}/ps"))
    assert form(asked(front, "ps").json()) == form(loaded)


@pytest.mark.parametrize("name", sorted(set(REFUSED) - BY_FAULT))
def test_a_refusal_has_ollamas_status_and_words(front, name):
    one, seen = EXCHANGES[name], asked(front, name)
    assert (seen.status_code, seen.content) == (one["status"], body(f"{OLLAMA}/{name}"))
    assert {key: seen.headers.get(key) for key in one["headers"]} == one["headers"]


def test_a_prompt_that_is_too_long_is_cut_in_silence_to_half_the_context(front):
    """The tiny model speaks harmony after short prompts only, so the context of this test is small."""
    assert reply_of(body(f"{OLLAMA}/too_long_truncated")).prompt_tokens == 4096 // 2 + 2  # of 6069
    question = [{"role": "user", "content": "Explain quantum mechanics in one paragraph. " * 500}]
    options = {"num_predict": 12, "temperature": 0, "num_ctx": 1024}
    seen = reply_of(asked(front, "too_long_truncated", messages=question, options=options).content)
    assert seen.error is None
    assert seen.prompt_tokens == 1024 // 2 + 2


def test_a_format_is_obeyed_and_a_wrong_one_is_an_error_at_the_first_token_of_the_answer(front):
    real, seen = (reply_of(data) for data in (body(f"{OLLAMA}/err_format"), asked(front, "err_format").content))
    assert (seen.error, seen.answer_text, bool(seen.reasoning_text)) == (real.error, "", True)
    options = {"num_predict": 200, "temperature": 0}
    text = asked(front, "chat_nonstream", format="json", options=options).json()["message"]["content"]
    assert text.lstrip()[:1] in ("{", "[", '"', "")


def test_a_limit_of_0_is_no_limit(front):
    seen = asked(front, "num_predict_0", stream=False, options={"num_predict": 0, "temperature": 0}).json()
    assert (seen["done_reason"], seen["eval_count"] > 20) == ("stop", True)


@pytest.mark.parametrize(
    ("path", "fields", "words"),
    [
        ("/api/chat", {"think": 3}, "think must be a boolean or string"),
        ("/v1/chat/completions", {"reasoning_effort": "bogus"}, "invalid reasoning value: 'bogus'"),
        ("/v1/chat/completions", {"messages": []}, "[] is too short - 'messages'"),
        ("/api/chat", {"keep_alive": "soon"}, 'time: invalid duration "soon"'),
    ],
)
def test_a_wrong_field_is_a_400(front, path, fields, words):
    question = {"model": front.model, "messages": [{"role": "user", "content": "x"}]} | fields
    answer = httpx.post(f"{front.url}{path}", json=question)
    error = answer.json()["error"]
    assert answer.status_code == 400
    assert words in (error["message"] if path.startswith("/v1") else error)


def test_a_request_waits_for_a_slot_outside_the_time_of_loading(front):
    """Four at once and one slot: the last waits for the replies of the three before it."""

    async def together() -> list[bytes]:
        names = [f"conc4_np1_nonstream_{number}" for number in range(4)]
        async with httpx.AsyncClient(base_url=front.url, timeout=240) as http:
            sent = (http.post(EXCHANGES[name]["path"], content=EXCHANGES[name]["body"]) for name in names)
            return [answer.content for answer in await asyncio.gather(*sent)]

    asked(front, "num_predict_1")
    timings = [reply_of(data).timings for data in asyncio.run(together())]
    first, *_, last = sorted(timings, key=lambda one: one.total_s)
    assert last.wait_s > 2 * min(one.eval_s for one in timings)
    # What the last one waited longer than the first is not in its time of loading.
    assert last.wait_s - first.wait_s > last.load_s - first.load_s


def test_one_server_has_the_same_ttft_by_both_of_its_apis(front):
    """Requests in turn, so that a slow moment is of both: each API's median lies within the other's bounds."""
    apis = [front, replace(front, dialect="openai", request_fields=())]
    plan = LoadPlan(max_tokens=16, prompts="distinct")

    async def in_turn() -> list[Trace]:
        traces = []
        async with Client(apis[0], plan) as native, Client(apis[1], plan) as openai:
            for number in range(40):
                for client, endpoint in ((native, apis[0]), (openai, apis[1])):
                    question = request_body(plan, endpoint, 2 * number + (client is openai))
                    traces.append(await client.send(Request(question, len(traces))))
        return traces

    asked(front, "num_predict_1")
    rows = derive_tables(asyncio.run(in_turn()))[0]
    assert (rows["outcome"] == "completed").all() and (rows["ttft_s"] == rows["ttft_high_s"]).all()
    native, openai = rows[0::2], rows[1::2]
    for one, other in ((native, openai), (openai, native)):
        low_s, high_s = np.quantile(other["ttft_low_s"], 0.05), np.quantile(other["ttft_high_s"], 0.95)
        assert low_s <= one["ttft_s"].median() <= high_s
