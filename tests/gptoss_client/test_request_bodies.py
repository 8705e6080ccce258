"""The path, headers and body of a request, per dialect of the server."""

import json

import pytest

from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.request_bodies import request_body, request_headers, request_path
from gptoss_client.trace import Endpoint

ENDPOINT = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="vllm")


def test_bodies_speak_the_dialect_of_the_server():
    plan = LoadPlan(max_tokens=9, ignore_eos=True, min_tokens=9, token_counts=True, options={"seed": 1})
    chat = json.loads(request_body(plan, ENDPOINT, 0))
    assert (chat["max_tokens"], chat["ignore_eos"], chat["min_tokens"], chat["seed"]) == (9, True, 9, 1)
    assert chat["stream_options"] == {"include_usage": True, "continuous_usage_stats": True}
    ollama = Endpoint(url="http://127.0.0.1:1", model="m", dialect="ollama", engine="ollama")
    assert (request_path("openai"), request_path("ollama")) == ("/v1/chat/completions", "/api/chat")
    native = json.loads(request_body(LoadPlan(max_tokens=9, options={"num_ctx": 64}), ollama, 0))
    assert native["options"] == {"num_predict": 9, "temperature": 0.0, "num_ctx": 64}
    assert "max_tokens" not in native and native["stream"] is True


def test_think_is_a_field_of_ollamas_own_api_and_num_ctx_an_option_of_it():
    native = Endpoint(url="http://127.0.0.1:1", model="m", dialect="ollama", engine="ollama")
    body = json.loads(request_body(LoadPlan(think="high"), native, 0))
    assert body["think"] == "high" and "think" not in body["options"]
    assert "think" not in json.loads(request_body(LoadPlan(), native, 0))
    with pytest.raises(UsageError, match=r"^think must be 'low', 'medium' or 'high', not 'hihg', did you mean 'high'"):
        LoadPlan(think="hihg")
    openai = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="ollama", request_fields=())
    with pytest.raises(UsageError, match=r"^think is a field of Ollama's own API"):
        request_body(LoadPlan(think="low"), openai, 0)
    with pytest.raises(UsageError, match=r"^ollama ignores num_ctx .* --dialect ollama .*OLLAMA_CONTEXT_LENGTH=1024"):
        request_body(LoadPlan(options={"num_ctx": 1024}), openai, 0)


def test_the_running_token_count_is_asked_for_by_the_name_that_the_engine_knows():
    llama = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="llama.cpp")
    body = json.loads(request_body(LoadPlan(token_counts=True), llama, 0))
    assert (body["timings_per_token"], body["stream_options"]) == (True, {"include_usage": True})
    assert "token_counts" not in body
    unknown = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="openai-compatible")
    body = json.loads(request_body(LoadPlan(token_counts=True), unknown, 0))  # it may be either, behind a proxy
    assert body["timings_per_token"] and body["stream_options"]["continuous_usage_stats"]
    known = Endpoint(
        url="http://127.0.0.1:1", model="m", dialect="openai", engine="vllm", request_fields=("token_counts",)
    )
    assert "timings_per_token" not in json.loads(request_body(LoadPlan(token_counts=True), known, 0))


@pytest.mark.parametrize("system", ["You are brief.", None])
def test_a_distinct_prompt_differs_in_its_first_message(system):
    plan = LoadPlan(prompts="distinct", system=system, prompt="Why?", salt=42)
    first, *rest = json.loads(request_body(plan, ENDPOINT, 7))["messages"]
    assert first == {"role": "system" if system else "user", "content": f"000042000007 {system or 'Why?'}"}
    assert rest == ([{"role": "user", "content": "Why?"}] if system else [])


@pytest.mark.parametrize(
    ("wanted", "names"),
    [({"ignore_eos": True, "min_tokens": 3}, "ignore_eos and min_tokens"), ({"token_counts": True}, "token_counts")],
)
def test_a_field_that_the_engine_does_not_know_is_refused(wanted, names):
    engine = Endpoint(url="http://127.0.0.1:1", model="m", dialect="openai", engine="small", request_fields=())
    with pytest.raises(UsageError, match=f"^small does not know {names}: "):
        request_body(LoadPlan(**wanted), engine, 0)


def test_headers_ask_for_bytes_as_they_are_and_say_whether_the_connection_is_kept(monkeypatch):
    monkeypatch.delenv("GPTOSS_API_KEY", raising=False)
    headers = request_headers()
    assert (headers["Accept-Encoding"], headers["Connection"]) == ("identity", "keep-alive")
    assert request_headers(keep_alive=False)["Connection"] == "close"
    assert "Authorization" not in headers
