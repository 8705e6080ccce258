"""TODO docstring."""

import json
from typing import Any

from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from gptoss_client.trace import Endpoint

# Said with each request, so that an Ollama set to forget sooner does not load anew between two of them.
KEEP_ALIVE = "30m"


def request_path(dialect: str) -> str:
    """Where a request of this dialect is posted, below the server's root."""
    return "/api/chat" if dialect == "ollama" else "/v1/chat/completions"


def request_body(plan: LoadPlan, endpoint: Endpoint, prompt_id: int) -> bytes:
    """The JSON body of one streaming request; `prompt_id` counts from 0 and matters for distinct prompts.

    Raises UsageError where the plan asks for something that the engine is known to refuse or ignore.
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
    body: dict[str, Any] = {"model": endpoint.model, "messages": _messages(plan, prompt_id), "stream": True}
    if endpoint.dialect == "ollama":
        body["keep_alive"] = KEEP_ALIVE
        body["options"] = {"num_predict": plan.max_tokens, "temperature": plan.temperature, **plan.options}
        return _json(body)
    body |= {"temperature": plan.temperature, "max_tokens": plan.max_tokens, **plan.options}
    body["stream_options"] = {"include_usage": True}
    if wanted.pop("token_counts", False):
        if endpoint.engine == "llama.cpp":
            body["timings_per_token"] = True
        else:
            body["stream_options"]["continuous_usage_stats"] = True
    return _json(body | wanted)


def _messages(plan: LoadPlan, prompt_id: int) -> list[dict[str, str]]:
    messages = [{"role": "system", "content": plan.system}] if plan.system else []
    messages.append({"role": "user", "content": plan.prompt})
    if plan.prompts == "distinct":
        # Groups of three digits are one token each in gpt-oss's vocabulary, so equal digits are equal tokens.
        tag = f"{plan.salt % 10**6:06d}{prompt_id % 10**6:06d}"
        messages[0] = {"role": messages[0]["role"], "content": f"{tag} {messages[0]['content']}"}
    return messages


def _json(body: dict[str, Any]) -> bytes:
    return json.dumps(body, ensure_ascii=False, separators=(",", ":")).encode()
