"""Send a load with stock httpx, as a typical script does: one AsyncClient, each line parsed when it is read."""

import asyncio
import json
import time
from typing import Any

import httpx
import pandas as pd

from gptoss_bench.calibration.accuracy import ClientTables
from gptoss_client import Endpoint, LoadPlan, request_body, request_path


async def run_stock_httpx(plan: LoadPlan, endpoint: Endpoint) -> ClientTables:
    """Send a closed loop of `plan.concurrency` requests after one wave of warm-up, and return the measured tables.

    The request table has request_id, sent_ns and ttft_s, the event table request_id, event, arrival_ns and itl_s:
    only what `accuracy` needs is recorded, so the cost is a lower bound.
    """
    body, path = request_body(plan, endpoint, 0), request_path(endpoint.dialect)
    requests: list[tuple[int, int, float]] = []
    events: list[tuple[int, int, int, float]] = []
    streams: dict[int, int] = {}

    async def send(http: httpx.AsyncClient, request_id: int) -> None:
        sent_ns, event = time.perf_counter_ns(), 0
        first = previous = None
        async with http.stream("POST", path, content=body) as response:
            async for line in response.aiter_lines():
                if not line.startswith("data: "):
                    continue
                message: dict[str, Any] = {} if line == "data: [DONE]" else json.loads(line[6:])
                now_ns = time.perf_counter_ns()
                gap_s = float("nan")
                if message.get("choices") and message["choices"][0]["delta"].get("content"):
                    gap_s = gap_s if previous is None else (now_ns - previous) / 1e9
                    first, previous = first or now_ns, now_ns
                    streams[request_id] = int(message["id"][-8:])
                events.append((request_id, event, now_ns, gap_s))
                event += 1
        requests.append((request_id, sent_ns, float("nan") if first is None else (first - sent_ns) / 1e9))

    async def slot(http: httpx.AsyncClient, ids: range) -> None:
        for request_id in ids:
            await send(http, request_id)

    limits = httpx.Limits(max_connections=plan.concurrency, max_keepalive_connections=plan.concurrency)
    async with httpx.AsyncClient(base_url=endpoint.url, limits=limits, timeout=60, trust_env=False) as http:
        await asyncio.gather(*(send(http, -1 - slot_id) for slot_id in range(plan.concurrency)))
        for kept in (requests, events):
            kept.clear()
        streams.clear()
        planned = plan.requests or plan.concurrency
        await asyncio.gather(*(slot(http, range(at, planned, plan.concurrency)) for at in range(plan.concurrency)))
    return ClientTables(
        pd.DataFrame(requests, columns=["request_id", "sent_ns", "ttft_s"]),
        pd.DataFrame(events, columns=["request_id", "event", "arrival_ns", "itl_s"]),
        pd.Series(streams, dtype="int64", name="stream"),
    )
