"""Measure the speed of the decoder relative to json.loads on the same events: a ratio, comparable across machines."""

import json
import time
from collections.abc import Callable

from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.stream import StreamRequest, reply_writes
from gptoss_bench.runs import derive_tables
from gptoss_client import Trace, decode_body

STREAMS, TOKENS = 80, 256


def measure_decoding_speed() -> dict[str, float]:
    """Return events/s relative to json.loads: "wire" for the decoder, "tables" for decoding into a run's two tables."""
    writes = reply_writes(ReferencePlan(tokens=TOKENS), StreamRequest("openai"))
    # The body without HTTP framing, which is the length before each event and the CR LF after it.
    payloads = [event.data.split(b"\r\n", 1)[1][:-2] for write in writes for event in write.events]
    pieces = tuple(enumerate(payloads))
    traces = [Trace(at, "measure", 0, 0, 0, 0.0, 200, pieces, TOKENS + 10) for at in range(STREAMS)]
    decoded = STREAMS * len(payloads)
    messages = [event[6:] for event in payloads if event.startswith(b"data: {")]

    def parse() -> None:
        for message in messages * STREAMS:
            json.loads(message)

    json_s = _seconds(parse) / (len(messages) * STREAMS) * decoded
    wire_s = _seconds(lambda: [decode_body(piece for _, piece in trace.pieces) for trace in traces])
    tables_s = _seconds(lambda: derive_tables(traces))
    return {"wire": json_s / wire_s, "tables": json_s / tables_s}


def _seconds(work: Callable[[], object]) -> float:
    began_s = time.perf_counter()
    work()
    return time.perf_counter() - began_s
