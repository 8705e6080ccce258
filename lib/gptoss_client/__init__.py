"""Send a load plan to one server and return one trace per request.

A `LoadPlan` and an `Endpoint` enter; each request leaves as a `Trace` with kernel timestamps and raw bytes, which
`Decoder` turns into events. Besides the standard library the package needs httpx, httptools and lazy_loader. Example::

    import asyncio
    from gptoss_client import Endpoint, LoadPlan, Trace, decode_body, run_load

    def print_ttft(trace: Trace) -> None:
        for event in decode_body(data for _, data in trace.pieces):
            if event.is_output:
                ttft_ns = trace.pieces[event.piece][0] - trace.sent_ns
                return print(f"request {trace.request_id}: TTFT {ttft_ns / 1e6:.1f} ms")
        print(f"request {trace.request_id}: no token, {trace.ending}")

    plan = LoadPlan(concurrency=2, requests=4, max_tokens=64)
    server = Endpoint(url="http://127.0.0.1:8000", model="openai/gpt-oss-20b", dialect="openai", engine="vllm")
    asyncio.run(run_load(plan, server, print_ttft))
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
