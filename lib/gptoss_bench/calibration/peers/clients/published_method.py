"""Send a load as the script of the write-up does, and print the block that it prints.

It does not stream: it asks for HTTP/2, limits itself by one semaphore, takes one latency per request, and computes a
TTFT from it as latency × prompt tokens / all tokens, unless the response has a field `ttft`. Percentiles are exclusive.
It was written for this comparison and contains no code of the write-up.
"""

import asyncio
import importlib.util
import statistics
import sys
import time
from typing import NamedTuple

import httpx

from gptoss_client import PUBLISHED_PROMPT, PUBLISHED_SYSTEM

TIMEOUT_S = 60.0


class Answer(NamedTuple):
    """What one response gives: its latency, its tokens, the computed TTFT, and the version of HTTP."""

    latency_s: float
    ttft_s: float
    tokens: int
    http_version: str


async def ask(http: httpx.AsyncClient, url: str, max_tokens: int) -> Answer:
    """Send one request and return its answer. Raises httpx.HTTPStatusError for a status other than 200."""
    messages = [{"role": "system", "content": PUBLISHED_SYSTEM}, {"role": "user", "content": PUBLISHED_PROMPT}]
    body = {"model": "reference", "messages": messages, "temperature": 0.0, "max_tokens": max_tokens, "stream": False}
    began_s = time.perf_counter()
    response = await http.post(f"{url}/v1/chat/completions", json=body)
    latency_s = time.perf_counter() - began_s
    response.raise_for_status()
    content = response.json()
    usage = content["usage"]
    prompt, completion = usage["prompt_tokens"], usage["completion_tokens"]
    ttft_s = content.get("ttft") or latency_s * prompt / (prompt + completion)
    return Answer(latency_s, ttft_s, completion, response.http_version)


async def ask_all(url: str, *, concurrency: int, requests: int, max_tokens: int) -> list[Answer]:
    """Return the answers to `requests` requests, at most `concurrency` at a time; the first failure ends all."""
    slots = asyncio.Semaphore(concurrency)
    limits = httpx.Limits(max_connections=concurrency)
    http2 = importlib.util.find_spec("h2") is not None
    async with httpx.AsyncClient(limits=limits, timeout=TIMEOUT_S, http2=http2, trust_env=False) as http:

        async def ask_in_turn() -> Answer:
            async with slots:
                return await ask(http, url, max_tokens)

        return await asyncio.gather(*(ask_in_turn() for _ in range(requests)))


def percentiles(name: str, values: list[float]) -> str:
    """Return the line of one quantity: the median, and the 90th and 99th of the exclusive percentiles."""
    cuts = statistics.quantiles(values, n=100)
    return f"{name:<15} p50={statistics.median(values):.3f} p90={cuts[89]:.3f}  p99={cuts[98]:.3f}"


def run(url: str, concurrency: str, requests: str, max_tokens: str) -> None:
    """Send the load and print the block, and before it which HTTP was asked for and spoken."""
    began_s = time.perf_counter()
    load = {"concurrency": int(concurrency), "requests": int(requests), "max_tokens": int(max_tokens)}
    answers = asyncio.run(ask_all(url, **load))
    wall_s = time.perf_counter() - began_s
    tokens = sum(answer.tokens for answer in answers)
    asked = "HTTP/2" if importlib.util.find_spec("h2") else "HTTP/1.1, because h2 is not installed"
    print(f"asked for {asked}, spoken {', '.join(sorted({answer.http_version for answer in answers}))}")
    print(f"Start stress test: {requests} requests  | concurrency={concurrency} | max_tokens={max_tokens}")
    print(f"Total wall-clock time : {wall_s:.2f}  s")
    print(f"Requests / second     : {len(answers) / wall_s:.1f}  req/s")
    print(f"Tokens  / second      : {tokens / wall_s:.1f}  tok/s")
    print(percentiles("Latency (s)", [answer.latency_s for answer in answers]))
    print(percentiles("TTFT (s)", [answer.ttft_s for answer in answers]))


if __name__ == "__main__":
    run(*sys.argv[1:])
