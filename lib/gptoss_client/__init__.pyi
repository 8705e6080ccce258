from .client import KEY_VARIABLE, Client, Request, request_headers
from .decoder import Decoder, decode_body
from .dialects import Event, Reply, ServerTimings, assemble_reply
from .errors import RunFailed, UsageError
from .event_loop import new_loop
from .load import LoadResult, Progress, allow_connections, run_load
from .outcome import request_outcome
from .plan import PUBLISHED_PROMPT, PUBLISHED_SYSTEM, LoadPlan
from .requests import request_body, request_path
from .timestamps import ANCILLARY_BYTES, SO_TIMESTAMPNS, WALL, request_timestamps
from .trace import Endpoint, Trace

__all__ = [
    "ANCILLARY_BYTES",
    "KEY_VARIABLE",
    "PUBLISHED_PROMPT",
    "PUBLISHED_SYSTEM",
    "SO_TIMESTAMPNS",
    "WALL",
    "Client",
    "Decoder",
    "Endpoint",
    "Event",
    "LoadPlan",
    "LoadResult",
    "Progress",
    "Reply",
    "Request",
    "RunFailed",
    "ServerTimings",
    "Trace",
    "UsageError",
    "allow_connections",
    "assemble_reply",
    "decode_body",
    "new_loop",
    "request_body",
    "request_headers",
    "request_outcome",
    "request_path",
    "request_timestamps",
    "run_load",
]
