"""Send requests with gptoss_client alone and print each TTFT: python docs/examples/client_alone.py URL MODEL"""

import asyncio
import sys

from gptoss_client import Endpoint, LoadPlan, Trace, assemble_reply, decode_body, run_load

if len(sys.argv) != 3:
    sys.exit(__doc__)
endpoint = Endpoint(url=sys.argv[1], model=sys.argv[2], dialect="openai", engine="any")
traces: list[Trace] = []  # one per request: times and raw bytes, nothing decoded
asyncio.run(run_load(LoadPlan(concurrency=2, requests=4, max_tokens=16), endpoint, traces.append))
for trace in traces:
    events = decode_body(piece for _, piece in trace.pieces)
    texts = [event for event in events if event.kind == "output"]  # the role chunk before them is no token
    if trace.ending != "complete" or trace.sent_ns is None or not texts:
        print(f"request {trace.request_id}: {trace.ending}, status {trace.status}, {trace.error or 'no text'}")
        continue
    ttft_s = (trace.pieces[texts[0].piece][0] - trace.sent_ns) / 1e9  # a piece is (arrival in ns, bytes)
    tokens = assemble_reply(events).completion_tokens
    print(f"request {trace.request_id}: TTFT {ttft_s:.3f} s, {tokens} tokens")
