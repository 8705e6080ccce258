"""Read the recorded and hand-made streams of tests/wire (sources: its README), and build messages as literals."""

import json
from functools import cache

from folders import TESTS

WIRE = TESTS / "wire"


def recorded(name):
    """Return the HTTP chunks of a recording."""
    return [json.loads(line)["data"].encode() for line in (WIRE / f"{name}.jsonl").read_text().splitlines()]


@cache
def body(name):
    return (WIRE / name).read_bytes() if name.startswith("hostile-") else b"".join(recorded(name))


def sse(*messages):
    return b"".join(b"data: " + json.dumps(message).encode() + b"\n\n" for message in messages)


def chunk(**delta):
    """Return a message of an OpenAI chat stream."""
    return {"choices": [{"index": 0, "delta": delta, "finish_reason": None}]}
