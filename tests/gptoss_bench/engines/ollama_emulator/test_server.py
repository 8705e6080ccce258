"""The front that speaks Ollama's API over the embedded llama.cpp: a real process, asked as an Ollama is asked."""

import asyncio
import json
import os
import signal
from datetime import datetime

import httpx
import pytest

from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.ollama import unload
from gptoss_bench.engines.ollama_emulator.messages import keep_alive_s
from gptoss_bench.engines.open import open_engine
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body
from serving import below, command_of, get, held, post, said_by, wait_until, wait_until_gone

HELLO = [{"role": "user", "content": "Hello"}]


@pytest.fixture(scope="module")
def front(tmp_path_factory):
    server = open_engine(
        ServerChoice(engine="ollama", embedded=True, context=1024), log_dir=tmp_path_factory.mktemp("front"), slots=2
    )
    with held(server) as endpoint:
        yield endpoint


def lines(answer: httpx.Response) -> list[dict]:
    assert answer.headers["content-type"] == "application/x-ndjson"
    return [json.loads(line) for line in answer.text.splitlines()]


def llama_process() -> int:
    """The llama.cpp server behind the front: the last of a line of processes that starts with this one."""
    commands = {process: command_of(process) for process in below(os.getpid())}
    [process] = [
        process
        for process, command in commands.items()
        if "engines.llama_server" in command and "supervisor.py" not in command
    ]
    return process


def test_it_does_not_claim_to_be_ollama(front):
    assert (front.engine, front.version) == ("llama.cpp behind an Ollama-API front", "0.0.0-embedded")
    assert (front.label, front.dialect, front.quantisation) == ("TINY MODEL", "ollama", "MXFP4_MOE")
    assert (front.facts["context"], front.facts["num_parallel"]) == (1024, 2)
    assert front.facts["size_vram_bytes"] == 0
    assert get(front, "/api/version") == {"version": "0.0.0-embedded"}


def test_a_chat_streams_thinking_then_answer_then_figures(front):
    said = said_by(front, request_body(LoadPlan(prompt="What does a clock measure?"), front, 0))
    assert (said.finish_reason, said.error, said.ended) == ("stop", None, True)
    assert said.reasoning_text and said.answer_text
    assert said.output_events < said.completion_tokens
    timings = said.timings
    assert timings.source == "ollama"
    assert timings.prompt_s > 0 and timings.eval_s > 0 and timings.load_s > 0
    assert timings.total_s > timings.eval_s
    assert (timings.prompt_tokens, timings.eval_tokens) == (said.prompt_tokens, said.completion_tokens)


def test_each_token_is_a_line_of_its_own(front):
    *tokens, last = lines(post(front, "/api/chat", {"model": front.model, "messages": HELLO}))
    kinds = ["thinking" if "thinking" in token["message"] else "answer" for token in tokens]
    assert kinds == sorted(kinds, reverse=True) and len(set(kinds)) == 2
    assert all(token["done"] is False and token["model"] == front.model for token in tokens)
    assert all(datetime.fromisoformat(token["created_at"]).tzinfo for token in tokens)
    assert (last["done"], last["done_reason"], last["message"]["content"]) == (True, "stop", "")


def test_the_options_of_a_request_are_obeyed(front):
    question = {"model": front.model, "messages": HELLO, "stream": False}
    short = post(front, "/api/chat", question | {"options": {"num_predict": 5}}).json()
    assert (short["eval_count"], short["done_reason"]) == (5, "length")
    seeded = question | {"options": {"temperature": 1.0, "seed": 3, "top_k": 0, "top_p": 1.0}}
    first, second = (post(front, "/api/chat", seeded).json()["message"] for _ in range(2))
    assert first == second
    assert first != post(front, "/api/chat", question | {"options": {"temperature": 0}}).json()["message"]


def test_generate_answers_in_its_own_words(front):
    question = {"model": front.model, "prompt": "Hello", "system": "Be brief."}
    *tokens, last = lines(post(front, "/api/generate", question))
    assert "message" not in last and last["response"] == ""
    assert any(token.get("thinking") for token in tokens) and any(token["response"] for token in tokens)
    whole = post(front, "/api/generate", question | {"stream": False}).json()
    assert whole["response"] and whole["thinking"] and whole["eval_count"] > 20


@pytest.mark.parametrize(
    ("path", "question", "status", "error"),
    [
        ("/api/chat", {"model": "llama3", "messages": HELLO}, 404, "model 'llama3' not found"),
        ("/api/generate", {"model": "llama3", "prompt": "x"}, 404, "model 'llama3' not found"),
        ("/api/show", {"model": "llama3"}, 404, "model 'llama3:latest' not found"),
        ("/api/chat", {"messages": HELLO}, 400, "model is required"),
        ("/api/chat", [], 400, "json: cannot unmarshal array into Go value of type api.ChatRequest"),
    ],
)
def test_a_bad_question_is_refused_before_the_stream(front, path, question, status, error):
    answer = post(front, path, question)
    assert (answer.status_code, answer.json()) == (status, {"error": error})


@pytest.mark.parametrize(
    ("body", "words"),
    [
        (b'{"model":', "unexpected EOF"),
        (b"nope", "invalid character 'n' looking for beginning of value"),
        (b'{"model" 1}', "invalid character '1' after object key"),
        (b'{"model": 1 2}', "invalid character '2' after object key:value pair"),
    ],
)
def test_json_that_is_none_is_refused_in_gos_words(front, body, words):
    answer = httpx.post(f"{front.url}/api/chat", content=body)
    assert (answer.status_code, answer.json()) == (400, {"error": words})
    assert httpx.get(f"{front.url}/nowhere").status_code == 404


def test_openais_api_is_there_as_well(front):
    found = asyncio.run(attach(front.url, "", "openai"))
    assert (found.dialect, found.engine, found.label) == ("openai", front.engine, "TINY MODEL")
    said = said_by(found, request_body(LoadPlan(prompt="Hello"), found, 0))
    assert said.reasoning_text and said.answer_text and said.timings is None
    wrong = post(front, "/v1/chat/completions", {"model": "llama3", "messages": HELLO})
    assert (wrong.status_code, wrong.json()["error"]["message"]) == (404, "model 'llama3' not found")


def test_unloading_ends_the_process_and_the_next_request_pays_for_the_load(front):
    warm = post(front, "/api/chat", {"model": front.model, "messages": HELLO, "stream": False}).json()
    process = llama_process()
    asyncio.run(unload(front))
    wait_until_gone([process])
    assert get(front, "/api/ps") == {"models": []}
    cold = post(front, "/api/chat", {"model": front.model, "messages": HELLO, "stream": False}).json()
    # A process was started and a model read, against a look at whether it is there.
    assert cold["load_duration"] > warm["load_duration"]
    assert cold["total_duration"] > cold["load_duration"]
    assert [model["name"] for model in get(front, "/api/ps")["models"]] == ["gpt-oss-tiny:latest"]


def test_another_context_reloads_the_model(front):
    def context_after(**options: int) -> int:
        post(front, "/api/chat", {"model": front.model, "messages": HELLO, "stream": False, "options": options})
        return get(front, "/api/ps")["models"][0]["context_length"]

    assert [context_after(num_ctx=512), context_after(), context_after(num_ctx=768)] == [512, 1024, 768]


def test_a_keep_alive_that_ran_out_unloads_by_itself(front):
    loaded = post(front, "/api/generate", {"model": front.model, "keep_alive": "200ms"}).json()
    assert (loaded["done"], loaded["done_reason"]) == (True, "load")
    wait_until(lambda: get(front, "/api/ps")["models"] == [], "the model expired")


def test_a_model_server_that_was_killed_is_started_again(front):
    post(front, "/api/generate", {"model": front.model})
    process = llama_process()
    os.kill(process, signal.SIGKILL)
    wait_until_gone([process])
    assert post(front, "/api/chat", {"model": front.model, "messages": HELLO, "stream": False}).status_code == 200


@pytest.mark.parametrize(
    ("keep_alive", "seconds"), [(None, 300), (0, 0), ("0", 0), (2.5, 2.5), ("90s", 90), ("2m", 120), ("500ms", 0.5)]
)
def test_keep_alive_is_seconds_or_a_text_with_a_unit(keep_alive, seconds):
    assert keep_alive_s(keep_alive) == seconds


def test_keep_alive_below_zero_is_for_ever_and_nonsense_is_refused(front):
    assert keep_alive_s(-1) == keep_alive_s("-1m") == float("inf")
    answer = post(front, "/api/generate", {"model": front.model, "keep_alive": "soon"})
    assert answer.status_code == 400
