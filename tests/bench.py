"""What the kit's client costs and adds, beside stock httpx, against one paced server in the same run (`make bench`).

Prints ratios, for on a shared machine only figures of the same minutes can be compared. The server is a process of
its own and sends each token at its due time: TTFT 200 ms, then a token every 25 ms.
"""

import asyncio
import json
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import httpx
import pandas as pd

from gptoss_bench import tables, wire
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.load import run_load
from gptoss_bench.plan import Plan, request_body
from gptoss_bench.store import RunFolder
from gptoss_bench.trace import Trace
from scripted import END, HEAD, Exchange, Scripted, chunk, ending, event

STREAMS, TOKENS, TTFT_S, ITL_S, ROUNDS = 64, 40, 0.200, 0.025, 3


async def paced(exchange: Exchange) -> None:
    """Send each token when it is due, counted from the arrival of the request."""
    loop = asyncio.get_running_loop()
    start_s = loop.time()
    await exchange.send(HEAD)
    for token in range(TOKENS):
        await asyncio.sleep(max(0.0, start_s + TTFT_S + token * ITL_S - loop.time()))
        await exchange.send(chunk(event(content=f" t{token}")))
    await exchange.send(chunk(ending(TOKENS)), END)


async def serve() -> None:
    """Serve until killed; the first line of the output is the port."""
    server = Scripted(paced)
    await server.start()
    print(server.endpoint.url, flush=True)
    await asyncio.Event().wait()


def ours(endpoint: Endpoint) -> tuple[float, float]:
    """CPU seconds of one load (decoding left out, as it follows the load), and the median TTFT that it reports."""
    with tempfile.TemporaryDirectory() as results:
        folder = RunFolder.create(Path(results), "bench", parameters={})
        cpu_s = time.process_time()
        asyncio.run(run_load(Plan(concurrency=STREAMS, requests=STREAMS * 2, warmup=STREAMS), endpoint, folder))
        cpu_s = time.process_time() - cpu_s
        run = folder.finish({})
        return cpu_s, float(run.requests[run.requests.phase == "measure"].ttft_s.median())


def stock(endpoint: Endpoint) -> tuple[float, float]:
    """The same with one shared httpx client that reads lines and parses each as it comes."""
    body, ttfts = request_body(Plan(), endpoint, 0), []

    async def ask(http: httpx.AsyncClient, measure: bool) -> None:
        start_s, first = time.perf_counter(), True
        async with http.stream("POST", "/v1/chat/completions", content=body) as response:
            async for line in response.aiter_lines():
                if line.startswith("data: {") and json.loads(line[6:])["choices"] and first:
                    first = False
                    if measure:
                        ttfts.append(time.perf_counter() - start_s)

    async def load() -> None:
        limits = httpx.Limits(max_connections=STREAMS, max_keepalive_connections=STREAMS)
        async with httpx.AsyncClient(base_url=endpoint.url, limits=limits, timeout=60, trust_env=False) as http:
            for measure in (False, True, True):
                await asyncio.gather(*(ask(http, measure) for _ in range(STREAMS)))

    cpu_s = time.process_time()
    asyncio.run(load())
    return time.process_time() - cpu_s, statistics.median(ttfts)


def decoding() -> tuple[float, float]:
    """Events per second over those of json.loads alone on the same events: of the decoder, and to the two tables."""
    pieces = [event(content=f" t{token}") for token in range(256)]
    streams = [tuple(enumerate([event(role="assistant"), *pieces, ending(256)])) for _ in range(80)]
    traces = [Trace(at, "measure", 0, 0, 0, 0.0, 200, stream, 300) for at, stream in enumerate(streams)]
    start_s = time.perf_counter()
    decoded = sum(len(wire.decode(piece for _, piece in trace.pieces)) for trace in traces)
    wire_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    assert len(tables.derive(traces)[1]) == decoded
    tables_s = time.perf_counter() - start_s
    start_s = time.perf_counter()
    for piece in pieces * len(traces):
        json.loads(piece[6:])
    json_s = (time.perf_counter() - start_s) / (len(pieces) * len(traces)) * decoded
    return json_s / wire_s, json_s / tables_s


def main() -> None:
    """Run both clients in turn, and print the medians and their ratio."""
    with subprocess.Popen([sys.executable, __file__, "serve"], stdout=subprocess.PIPE, text=True) as server:
        try:
            assert server.stdout is not None
            url = server.stdout.readline().strip()
            endpoint = Endpoint(url=url, model="m", dialect="openai", engine="paced")
            rounds = [(*ours(endpoint), *stock(endpoint)) for _ in range(ROUNDS)]
        finally:
            server.kill()
    table = pd.DataFrame(rounds, columns=["our_cpu_s", "our_ttft_s", "stock_cpu_s", "stock_ttft_s"]).median()
    ours_ms, stock_ms = ((table[name] - TTFT_S) * 1e3 for name in ("our_ttft_s", "stock_ttft_s"))
    print(f"{STREAMS} streams, {1 / ITL_S:.0f} tokens/s each, {ROUNDS} rounds, medians")
    print(f"client CPU        ours {table.our_cpu_s:.2f} s   stock httpx {table.stock_cpu_s:.2f} s   "
          f"ratio {table.our_cpu_s / table.stock_cpu_s:.2f}")  # fmt: skip
    print(f"TTFT above {TTFT_S * 1e3:.0f} ms  ours {ours_ms:.2f} ms   stock httpx {stock_ms:.2f} ms   "
          f"ratio {ours_ms / stock_ms:.2f}   (server's own lateness inside both)")  # fmt: skip
    decoder, derived = decoding()
    print(f"decoder           {decoder:.2f} of the speed of json.loads alone on the same events")
    print(f"traces to tables  {derived:.2f} of it")


if __name__ == "__main__":
    asyncio.run(serve()) if sys.argv[1:] == ["serve"] else main()
