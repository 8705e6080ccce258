"""Send a load with stock httpx and write the times as JSON.

The first wave of REQUESTS is the warm-up; it is sent but not written.
"""

import asyncio
import json
import sys
import time
from pathlib import Path

from gptoss_bench.calibration.stock_httpx import run_stock_httpx
from gptoss_client import Endpoint, LoadPlan


def run(url: str, out: str, streams: str, requests: str, tokens: str) -> None:
    """Send the load and write the tables to the file `out`; CPU time is counted until the last response has ended."""
    measured = max(1, int(requests) - int(streams))
    plan = LoadPlan(concurrency=int(streams), requests=measured, max_tokens=int(tokens))
    endpoint = Endpoint(url=url, model="reference", dialect="openai", engine="reference")
    cpu_s = time.process_time()
    sent, events, numbers = asyncio.run(run_stock_httpx(plan, endpoint))
    cpu_s = time.process_time() - cpu_s
    tables = {"requests": sent.to_dict("list"), "events": events.to_dict("list")}
    reported = {"cpu_s": cpu_s, "warm": True, **tables, "streams": [numbers.index.tolist(), numbers.tolist()]}
    Path(out).write_text(json.dumps(reported))


if __name__ == "__main__":
    run(*sys.argv[1:])
