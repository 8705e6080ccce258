"""Questions about claims that any OpenAI-compatible server answers: asked once, outside the measured load."""

from typing import Any

import httpx

from gptoss_client import PUBLISHED_PROMPT, PUBLISHED_SYSTEM, Endpoint, request_headers

UNSERVED_MODEL = "a-model-that-is-not-served"


async def probe_server(endpoint: Endpoint, *, timeout_s: float = 120.0) -> dict[str, Any]:
    """Ask as the write-up's client did: not streaming, with HTTP/2 wanted, and once with a wrong model name.

    Returns http2_requested, http_version, response_keys, ttft_field, prompt_tokens (of the published prompt) and
    wrong_model_status. Raises httpx.HTTPError where the server does not answer.
    """
    question = {
        "model": endpoint.model,
        "messages": [
            {"role": "system", "content": PUBLISHED_SYSTEM},
            {"role": "user", "content": PUBLISHED_PROMPT},
        ],
        "temperature": 0.0,
        "max_tokens": 8,
        "stream": False,
    }
    async with httpx.AsyncClient(
        base_url=endpoint.url,
        headers=request_headers(keep_alive=endpoint.keep_alive),
        http2=True,
        timeout=timeout_s,
        trust_env=False,
    ) as http:
        answer = await http.post("/v1/chat/completions", json=question)
        wrong = await http.post("/v1/chat/completions", json=question | {"model": UNSERVED_MODEL})
    body = answer.json() if answer.status_code == httpx.codes.OK else {}
    return {
        "http2_requested": True,
        "http_version": answer.http_version,
        "response_keys": sorted(body),
        "ttft_field": "ttft" in body,
        "prompt_tokens": body.get("usage", {}).get("prompt_tokens"),
        "wrong_model_status": wrong.status_code,
    }
