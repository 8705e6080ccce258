"""Build the HTTP path, headers and JSON body of a request, from a load plan and the dialect of the server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from time import perf_counter_ns

from gptoss_client.errors import UsageError
from gptoss_client.load_file import Message
from gptoss_client.outside import API_KEY_VARIABLE, JsonValue, api_key
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import messages_of
from gptoss_client.trace import Endpoint

# Sent with every request: an Ollama server with a shorter setting would unload the model between two requests.
OLLAMA_KEEP_ALIVE = "30m"


@dataclass(frozen=True, slots=True)
class Request:
    """One request to send: its body, and what identifies it in its trace. `scheduled_ns` is when it was due.

    `max_tokens` is its token limit if it has one of its own. A turn of a conversation has the number of both, and the
    SHA-256 of its body, which depends on earlier answers.
    """

    body: bytes
    request_id: int = 0
    phase: str = "measure"
    prompt_id: int = 0
    scheduled_ns: int = field(default_factory=perf_counter_ns)
    max_tokens: int | None = None
    conversation: int | None = None
    turn: int | None = None
    sha256: str | None = None


def request_path(dialect: str) -> str:
    """Return the path below the server's root to which requests of this dialect are posted."""
    return "/api/chat" if dialect == "ollama" else "/v1/chat/completions"


def request_headers(*, keep_alive: bool = True) -> dict[str, str]:
    """Return the headers of every request, including the API key if the environment has one.

    Raises UsageError if HTTP cannot carry the key; the message does not show it.
    """
    headers = {
        "Accept": "*/*",
        "Accept-Encoding": "identity",
        "Connection": "keep-alive" if keep_alive else "close",
        "Content-Type": "application/json",
        "User-Agent": "gptoss_client",
    }
    if key := api_key():
        if not key.isascii() or not key.isprintable():
            raise UsageError(f"the key in {API_KEY_VARIABLE} has characters that HTTP cannot carry: set it again")
        headers["Authorization"] = f"Bearer {key}"
    return headers


def request_body(
    plan: LoadPlan,
    endpoint: Endpoint,
    prompt_id: int,
    max_tokens: int | None = None,
    *,
    messages: Sequence[Message] | None = None,
) -> bytes:
    """Return the JSON body of one streaming request; `prompt_id` (from 0) selects one of several prompts.

    `max_tokens` is the token limit of this request; None: that of the plan. `messages` are sent in place of the prompt.

    Raises UsageError if the plan asks for something that the engine is known to refuse or ignore.
    """
    wanted = {
        name: value
        for name, value in (
            ("ignore_eos", plan.ignore_eos),
            ("min_tokens", plan.min_tokens),
            ("token_counts", plan.token_counts),
        )
        if value
    }
    understood = () if endpoint.dialect == "ollama" else endpoint.request_fields
    unknown = [] if understood is None else sorted(set(wanted) - set(understood))
    if unknown:
        raise UsageError(f"{endpoint.engine} does not know {' and '.join(unknown)}: leave it out for this engine")
    said = messages_of(plan, prompt_id) if messages is None else messages
    chat: list[JsonValue] = [{"role": role, "content": text} for role, text in said]
    limit = plan.max_tokens if max_tokens is None else max_tokens
    body: dict[str, JsonValue] = {"model": endpoint.model, "messages": chat, "stream": True}
    if endpoint.dialect == "ollama":
        body["keep_alive"] = OLLAMA_KEEP_ALIVE
        body["options"] = {"num_predict": limit, "temperature": plan.temperature, **plan.options}
        return _json(body if plan.think is None else body | {"think": plan.think})
    if plan.think is not None:
        raise UsageError(f"think is a field of Ollama's own API, not of that of {endpoint.engine}: leave it out")
    if "num_ctx" in plan.options and understood is not None:
        raise UsageError(
            f"{endpoint.engine} ignores num_ctx in OpenAI's API: use --dialect ollama with an Ollama, or set the "
            f"context where the server starts (OLLAMA_CONTEXT_LENGTH={plan.options['num_ctx']})"
        )
    body |= {"temperature": plan.temperature, "max_tokens": limit, **plan.options}
    body["stream_options"] = {"include_usage": True}
    if wanted.pop("token_counts", False):
        if endpoint.engine != "llama.cpp":
            body["stream_options"] = {"include_usage": True, "continuous_usage_stats": True}
        if endpoint.engine == "llama.cpp" or understood is None:  # unknown: a proxy may hide which engine it is
            body["timings_per_token"] = True
    return _json(body | wanted)


def _json(body: dict[str, JsonValue]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
