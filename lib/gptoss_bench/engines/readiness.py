"""Wait until a server is ready: until its model has returned a token to a real streaming request."""

import asyncio
import re
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace

from gptoss_bench.engines.process import ServerProcess
from gptoss_bench.engines.server_facts import refused_text
from gptoss_client import (
    Client,
    Endpoint,
    JsonValue,
    LoadPlan,
    Request,
    UsageError,
    assemble_reply,
    decode_body,
    one_line,
    request_body,
    request_outcome,
)

# The headers of Harmony are tokens without text, so that about the fourth token is the first with text.
_PROBE = LoadPlan(concurrency=1, requests=1, prompt="Say hello.", system=None, max_tokens=32)
_PAUSE_S = 0.1
_TOKEN_COUNTS_S = 60.0  # limit of the request that tries running token counts


@dataclass(frozen=True, slots=True)
class _Answer:
    """`status` of HTTP, None where no response came; `error` is a message, None if a token came back."""

    status: int | None
    failure: str | None
    error: str | None


async def first_token(endpoint: Endpoint, *, timeout_s: float, options: Mapping[str, JsonValue] | None = None) -> None:
    """Return when a token has come back. Raises UsageError, in one line, if none does within `timeout_s`.

    `options` go into the request: an Ollama then loads the model with the num_ctx that the load will ask for.
    """
    answer = await _ask(endpoint, timeout_s, options)
    if answer.error is not None:
        raise UsageError(_explain(endpoint, answer))


async def accepts_token_counts(endpoint: Endpoint) -> bool:
    """Return whether a request for running token counts gets a token from the server; one request is sent.

    An engine whose request fields are known, and Ollama's own API, are not asked.
    """
    if endpoint.dialect == "ollama":
        return False
    if endpoint.request_fields is not None:
        return "token_counts" in endpoint.request_fields
    return (await _ask(endpoint, _TOKEN_COUNTS_S, None, token_counts=True)).error is None


def ended_text(process: ServerProcess, endpoint: Endpoint, when: str) -> str:
    """Return in words that a server ended by itself, with its last output."""
    name = next(word for word in process.command if not re.fullmatch(r"taskset|--cpu-list|[\d,-]+", word)).rpartition(
        "/"
    )[2]
    return (
        f"the {endpoint.engine} server ended with exit code {process.exit_code} {when} "
        f"({name}, log {process.log}): {process.last_lines()}"
    )


async def wait_for_first_token(
    process: ServerProcess, endpoint: Endpoint, *, timeout_s: float, options: Mapping[str, JsonValue] | None = None
) -> float:
    """Ask a server that is starting until a token comes back; return the seconds that took.

    Raises UsageError if the process ends first (with its last output), if a retry is useless (HTTP 4xx, or a complete
    reply without a token), or after `timeout_s`.
    """
    began = time.monotonic()
    while True:
        left_s = timeout_s - (time.monotonic() - began)
        answer = await _ask(endpoint, max(left_s, 1.0), options)
        if answer.error is None:
            return time.monotonic() - began
        if process.exit_code is not None:
            raise UsageError(ended_text(process, endpoint, "before it was ready"))
        if _is_final(endpoint, answer):
            raise UsageError(_explain(endpoint, answer))
        if time.monotonic() - began + _PAUSE_S > timeout_s:
            raise UsageError(
                f"the {endpoint.engine} server gave no token within {timeout_s:g} s (log {process.log}): {answer.error}"
            )
        await asyncio.sleep(_PAUSE_S)


def _is_final(endpoint: Endpoint, answer: _Answer) -> bool:
    """Return whether a retry is useless. A refused connection, HTTP 5xx or a cut reply may come from a starting server.

    An Ollama answers only once it is up: its 500 says that the model cannot be loaded.
    """
    if answer.status == 200:
        return answer.failure in (None, "in_stream_error", "empty")
    if answer.status == 500 and endpoint.engine == "ollama":
        return True
    return answer.status is not None and 400 <= answer.status < 500


async def _ask(
    endpoint: Endpoint, timeout_s: float, options: Mapping[str, JsonValue] | None, *, token_counts: bool = False
) -> _Answer:
    asked = replace(_PROBE, timeout_s=timeout_s, token_counts=token_counts)
    asked = replace(asked, options=dict(options or {}) if endpoint.dialect == "ollama" else {})
    async with Client(endpoint, asked) as client:
        trace = await client.send(Request(request_body(asked, endpoint, 0)))
    events = decode_body(data for _, data in trace.pieces)
    said = assemble_reply(events)
    if said.output_events:
        return _Answer(trace.status, None, None)
    ended = request_outcome(trace, said)
    failed = trace.status != 200
    words = (said.error if failed else None) or ended.error or "the reply ended without any text"
    return _Answer(trace.status, ended.failure, one_line(words))


def _explain(endpoint: Endpoint, answer: _Answer) -> str:
    if answer.status in (401, 403):
        return f"{refused_text(endpoint.url, answer.status)}; it says: {answer.error}"
    if answer.failure == "connect":
        return f"nothing answers at {endpoint.url} ({answer.error}): start the server or correct the address"
    if answer.failure == "timeout":
        return f"no token came from {endpoint.model} at {endpoint.url}: {answer.error}"
    if answer.status is None:
        return f"what answers at {endpoint.url} does not speak HTTP, or hangs up ({answer.error})"
    if answer.status == 404:
        advice = f"; to download it: ollama pull {endpoint.model}" if endpoint.engine == "ollama" else ""
        return f"{endpoint.url} does not serve {endpoint.model} (HTTP 404): {answer.error}{advice}"
    status = f" (HTTP {answer.status})" if answer.status not in (None, 200) else ""
    return f"{endpoint.url} gave no token of {endpoint.model}{status}: {answer.error}"
