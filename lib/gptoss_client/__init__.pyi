from .arrivals import ENDS_WITH_EVENT, REORDERED
from .client import Client, TraceCallback
from .decoder import MALFORMED, Decoder, decode_body
from .dialects import Event, Reply, ServerTimings, assemble_reply, tail_tokens
from .errors import RunFailed, UsageError
from .event_loop import new_event_loop
from .load import BeginCallback, raise_open_file_limit, run_load
from .outcome import request_outcome, unfinished_reply
from .outside import (
    API_KEY_VARIABLE,
    JsonValue,
    clean_json,
    count_at,
    hide_key,
    hide_secrets,
    object_at,
    objects_at,
    one_line,
    parse_json,
    printable_text,
    text_at,
)
from .plan import PROMPTS, PUBLISHED_PROMPT, PUBLISHED_SYSTEM, LoadPlan
from .prompts import WORDS, messages_sha256
from .request_bodies import Request, request_body, request_headers, request_path
from .schedule import ARRIVALS, rate_seconds
from .shard import WHOLE_LOAD, LoadShard
from .timestamps import NS_PER_S, TIMESTAMP_ANCILLARY_BYTES, WALL_CLOCK, enable_kernel_timestamps, kernel_timestamp_ns
from .tls import CA_FILE_VARIABLE, connect_reason, tls_context
from .trace import Endpoint, Trace, UnsentRequests
from .transport import ExchangeTimestamps, TimestampingTransport

__all__ = [
    "API_KEY_VARIABLE",
    "ARRIVALS",
    "CA_FILE_VARIABLE",
    "ENDS_WITH_EVENT",
    "MALFORMED",
    "NS_PER_S",
    "PROMPTS",
    "PUBLISHED_PROMPT",
    "PUBLISHED_SYSTEM",
    "REORDERED",
    "TIMESTAMP_ANCILLARY_BYTES",
    "WALL_CLOCK",
    "WHOLE_LOAD",
    "WORDS",
    "BeginCallback",
    "Client",
    "Decoder",
    "Endpoint",
    "Event",
    "ExchangeTimestamps",
    "JsonValue",
    "LoadPlan",
    "LoadShard",
    "Reply",
    "Request",
    "RunFailed",
    "ServerTimings",
    "TimestampingTransport",
    "Trace",
    "TraceCallback",
    "UnsentRequests",
    "UsageError",
    "assemble_reply",
    "clean_json",
    "connect_reason",
    "count_at",
    "decode_body",
    "enable_kernel_timestamps",
    "hide_key",
    "hide_secrets",
    "kernel_timestamp_ns",
    "messages_sha256",
    "new_event_loop",
    "object_at",
    "objects_at",
    "one_line",
    "parse_json",
    "printable_text",
    "raise_open_file_limit",
    "rate_seconds",
    "request_body",
    "request_headers",
    "request_outcome",
    "request_path",
    "run_load",
    "tail_tokens",
    "text_at",
    "tls_context",
    "unfinished_reply",
]
