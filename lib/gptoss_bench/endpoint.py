"""What the load needs to know of a server, and what the server says of itself."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, slots=True)
class Endpoint:
    """A server that is ready: a token came back from it.

    `url` is the root (no /v1, no trailing slash, no credentials). `dialect` is "openai" (chat completions as SSE) or
    "ollama" (/api/chat as NDJSON). `label` is what every figure must carry, such as "TINY MODEL". `keep_alive` is
    False where the server closes its connections while saying that it keeps them. `facts` holds whatever else the
    server said of itself, as JSON types. `ready_s` is launch to first token, None where we attached.
    """

    url: str
    model: str
    dialect: str
    engine: str
    version: str | None = None
    quantisation: str | None = None
    label: str | None = None
    keep_alive: bool = True
    ready_s: float | None = None
    facts: Mapping[str, Any] = field(default_factory=dict)
