"""Send requests, outside the measured load, whose responses decide claims about an OpenAI-compatible server."""

import httpx

from gptoss_bench.asking import Answer, NoAnswer, ask, question_client
from gptoss_bench.runs import ServerProbes
from gptoss_client import PUBLISHED_PROMPT, PUBLISHED_SYSTEM, Endpoint, JsonValue, count_at, object_at, one_line

UNKNOWN_MODEL = "a-model-that-is-not-served"
_PATH = "/v1/chat/completions"
_MOST_KEYS = 100  # of a response


async def probe_server(endpoint: Endpoint, *, timeout_s: float = 120.0) -> ServerProbes:
    """Send the write-up's request, not streaming and over HTTP/2 if possible, and one with a model that is not served.

    What a response does not tell, or a response that cannot be read, is None. `timeout_s` limits each response.
    """
    body: dict[str, JsonValue] = {
        "model": endpoint.model,
        "messages": [
            {"role": "system", "content": PUBLISHED_SYSTEM},
            {"role": "user", "content": PUBLISHED_PROMPT},
        ],
        "temperature": 0.0,
        "max_tokens": 8,
        "stream": False,
    }
    async with question_client(endpoint.url, keep_alive=endpoint.keep_alive, http2=True) as http:
        response = await _answer(http, body, timeout_s)
        wrong = await _answer(http, body | {"model": UNKNOWN_MODEL}, timeout_s)
    content = response.body if response.status == httpx.codes.OK else {}
    return ServerProbes(
        http2_requested=True,
        http_version=response.http_version or None,
        response_keys=sorted(map(one_line, content))[:_MOST_KEYS],
        ttft_field="ttft" in content if content else None,
        prompt_tokens=count_at(object_at(content, "usage"), "prompt_tokens"),
        wrong_model_status=wrong.status or None,
    )


async def _answer(http: httpx.AsyncClient, body: dict[str, JsonValue], timeout_s: float) -> Answer:
    try:
        return await ask(http, _PATH, body, timeout_s=timeout_s)
    except NoAnswer:
        return Answer()
