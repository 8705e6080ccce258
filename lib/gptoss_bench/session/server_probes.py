"""Send requests, outside the measured load, whose responses decide claims about an OpenAI-compatible server."""

import httpx

from gptoss_bench.runs import ServerProbes
from gptoss_client import PUBLISHED_PROMPT, PUBLISHED_SYSTEM, Endpoint, request_headers

UNKNOWN_MODEL = "a-model-that-is-not-served"


async def probe_server(endpoint: Endpoint, *, timeout_s: float = 120.0) -> ServerProbes:
    """Send the write-up's request, not streaming and over HTTP/2 if possible, and one with a model that is not served.

    Raises httpx.HTTPError if the server does not respond.
    """
    body = {
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
        response = await http.post("/v1/chat/completions", json=body)
        wrong = await http.post("/v1/chat/completions", json=body | {"model": UNKNOWN_MODEL})
    content = response.json() if response.status_code == httpx.codes.OK else {}
    usage = content.get("usage")
    prompt_tokens = usage.get("prompt_tokens") if isinstance(usage, dict) else None
    return ServerProbes(
        http2_requested=True,
        http_version=response.http_version,
        response_keys=sorted(content),
        ttft_field="ttft" in content,
        prompt_tokens=prompt_tokens if type(prompt_tokens) is int else None,
        wrong_model_status=wrong.status_code,
    )
