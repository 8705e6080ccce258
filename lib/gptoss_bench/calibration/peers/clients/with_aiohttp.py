"""Send a load with aiohttp and write the times as JSON; runs in a Python that has aiohttp but not this kit.

"plain" reads as the documentation of aiohttp suggests: line by line, each line parsed and timed when it is read. "vllm"
reads as the request function of `vllm bench serve` does for chat: it takes the bytes that have arrived, splits them at
blank lines and parses each message twice (first to check that it is complete). TTFT ends at the first message with
choices, and each later one ends a gap. It was written for this comparison and contains no code of vLLM.
"""

import asyncio
import json
import sys
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp

PROMPT = "Explain quantum mechanics in one paragraph."
NAN = float("nan")


async def lines(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the payload of each data line."""
    async for line in response.content:
        if line.startswith(b"data: "):
            yield line[6:].strip()


async def messages(response: aiohttp.ClientResponse) -> AsyncIterator[bytes]:
    """Yield the payload of each complete message as soon as its bytes have arrived."""
    rest = b""
    async for piece in response.content.iter_any():
        rest += piece
        while b"\n\n" in rest:
            message, rest = rest.split(b"\n\n", 1)
            payload = message.strip().removeprefix(b"data: ")
            if payload != b"[DONE]":
                json.loads(payload)
            yield payload


class Load:
    """A closed loop of requests and the times that it records."""

    def __init__(self, style: str, url: str, tokens: int) -> None:
        """Prepare the load; `style` is plain or vllm, `tokens` the token limit of a request."""
        self.url = f"{url}/v1/chat/completions"
        self.read, self.any_choice = (messages, True) if style == "vllm" else (lines, False)
        body: dict[str, Any] = {
            "model": "reference",
            "messages": [{"role": "user", "content": PROMPT}],
            "stream": True,
        }
        self.body = body | {"max_tokens": tokens, "temperature": 0.0, "stream_options": {"include_usage": True}}
        self.requests: dict[str, list[Any]] = {"request_id": [], "sent_ns": [], "ttft_s": []}
        self.events: dict[str, list[Any]] = {"request_id": [], "event": [], "arrival_ns": [], "itl_s": []}
        self.streams: tuple[list[int], list[int]] = ([], [])

    async def send(self, http: aiohttp.ClientSession, request_id: int) -> None:
        """Send one request and read its response to the end."""
        event, stream, ttft_s = 0, "", None
        began_ns = last_ns = time.perf_counter_ns()
        async with http.post(self.url, json=self.body) as response:
            response.raise_for_status()
            async for payload in self.read(response):
                message = {} if payload == b"[DONE]" else json.loads(payload)
                now_ns, gap_s = time.perf_counter_ns(), NAN
                choices = message.get("choices")
                if choices and (self.any_choice or choices[0]["delta"].get("content")):
                    stream = message["id"]
                    if ttft_s is None:
                        ttft_s = (now_ns - began_ns) / 1e9
                    else:
                        gap_s = (now_ns - last_ns) / 1e9
                    last_ns = now_ns
                for values, value in zip(self.events.values(), (request_id, event, now_ns, gap_s), strict=True):
                    values.append(value)
                event += 1
        for values, value in zip(self.requests.values(), (request_id, began_ns, ttft_s or NAN), strict=True):
            values.append(value)
        if stream:
            self.streams[0].append(request_id)
            self.streams[1].append(int(stream[-8:]))

    async def run(self, streams: int, requests: int) -> None:
        """Send all requests, `streams` at a time, each over one of as many connections."""

        async def slot(ids: range) -> None:
            for request_id in ids:
                await self.send(http, request_id)

        connector = aiohttp.TCPConnector(limit=streams, limit_per_host=streams)
        async with aiohttp.ClientSession(connector=connector, timeout=aiohttp.ClientTimeout(total=600)) as http:
            await asyncio.gather(*(slot(range(at, requests, streams)) for at in range(streams)))


def run(style: str, url: str, out: str, *counts: str) -> None:
    """Send the load and write the tables to the file `out`; CPU time is counted until the last response has ended.

    `counts` are STREAMS, REQUESTS and TOKENS.
    """
    streams, requests, tokens = map(int, counts)
    load = Load(style, url, tokens)
    cpu_s = time.process_time()
    asyncio.run(load.run(streams, requests))
    cpu_s = time.process_time() - cpu_s
    reported = {"cpu_s": cpu_s, "requests": load.requests, "events": load.events, "streams": load.streams}
    Path(out).write_text(json.dumps(reported))


if __name__ == "__main__":
    run(*sys.argv[1:])
