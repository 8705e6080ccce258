"""What a server says of itself, asked over its own API: engine, version, model, quantisation, context."""

from dataclasses import dataclass, replace
from typing import Any

import httpx

from gptoss_bench.client import KEY_VARIABLE, request_headers
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.errors import UsageError

EMBEDDED_VERSION = "0.0.0-embedded"  # what our own front answers where Ollama names its version
FRONT = "llama.cpp behind an Ollama-API front"
TINY_LABEL = "TINY MODEL"
TRUTH = "truth-server"  # our own paced one: what it yields measures the client, not a model
TRUTH_LABEL = "TRUTH SERVER"
TINY_PARAMETERS = 100e6  # a gpt-oss with fewer parameters than this is a toy, whoever made it
_TIMEOUT_S = 5.0
_Facts = dict[str, Any]


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a GET or POST. `body` is the decoded JSON, {} where it is none or no object.

    A question that the server did not answer has status 0.
    """

    status: int
    server: str  # the Server header
    content_type: str
    body: _Facts


async def identify(url: str) -> tuple[str, list[str]]:
    """Return the engine that answers at `url` and the models that it names (none where it does not tell).

    The engine is "llama.cpp", "truth-server", "ollama", "vllm" or "openai-compatible", which is also what does not
    tell. Raises UsageError, in one line, where nothing answers there, where it is a web page, where a key is wanted.
    """
    async with _asking(url) as http:
        listed = await _ask(http, "/v1/models")
        if listed.status in (401, 403):
            raise UsageError(f"{url} refuses access (HTTP {listed.status}): put its key into {KEY_VARIABLE}")
        models = [str(entry["id"]) for entry in _entries(listed.body, "data") if "id" in entry]
        if listed.server in ("llama.cpp", TRUTH):
            return listed.server, models
        if "version" in (await _ask(http, "/api/version")).body:
            tags = await _ask(http, "/api/tags")
            return "ollama", [str(entry["name"]) for entry in _entries(tags.body, "models") if "name" in entry]
        if "version" in (await _ask(http, "/version")).body:
            return "vllm", models
        if "html" in listed.content_type:
            raise UsageError(f"{url} answers with a web page and not with an API: give the root of a model server")
        return "openai-compatible", models


async def describe(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what its server says of itself. A question that it does not answer stays None."""
    async with _asking(endpoint.url) as http:
        match endpoint.engine:
            case "llama.cpp":
                return await _llama(http, endpoint)
            case "vllm":
                return await _vllm(http, endpoint)
            case "ollama":
                return await _ollama(http, endpoint)
            case "truth-server":
                plan = _object((await _ask(http, "/truth")).body.get("plan"))
                return replace(endpoint, label=endpoint.label or TRUTH_LABEL, facts=_known(endpoint, plan))
        return endpoint


async def _llama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """llama.cpp closes its connection after each stream although it announces keep-alive."""
    props = (await _ask(http, "/props")).body
    listed = (await _ask(http, "/v1/models")).body
    meta = next((entry.get("meta") or {} for entry in _entries(listed, "data")), {})
    facts = {
        "slots": props.get("total_slots"),
        "context": _object(props.get("default_generation_settings")).get("n_ctx"),
        "parameters": meta.get("n_params"),
        "model_bytes": meta.get("size"),
        "build": props.get("build_info"),
    }
    file_type = str(props.get("model_ftype") or "").split()
    parameters = meta.get("n_params")
    return replace(
        endpoint,
        version=endpoint.version or props.get("build_info"),
        quantisation=file_type[0] if file_type else None,
        label=endpoint.label or _label(parameters),
        keep_alive=False,
        facts=_known(endpoint, facts),
    )


async def _vllm(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """vLLM's API does not tell the quantisation."""
    version = (await _ask(http, "/version")).body.get("version")
    listed = _entries((await _ask(http, "/v1/models")).body, "data")
    ours: _Facts = next((entry for entry in listed if entry.get("id") == endpoint.model), {})
    return replace(endpoint, version=version, facts=_known(endpoint, {"context": ours.get("max_model_len")}))


async def _ollama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """`/api/ps` lists what is loaded, so this is asked after a token came back."""
    version = (await _ask(http, "/api/version")).body.get("version")
    details = _object((await _ask(http, "/api/show", {"model": endpoint.model})).body.get("details"))
    loaded = _entries((await _ask(http, "/api/ps")).body, "models")
    ours = next((entry for entry in loaded if same_model(endpoint.model, str(entry.get("name")))), {})
    embedded = version == EMBEDDED_VERSION
    facts = {
        "context": ours.get("context_length"),
        "size_bytes": ours.get("size"),
        "size_vram_bytes": ours.get("size_vram"),
        "digest": ours.get("digest"),
        "parameter_size": details.get("parameter_size"),
    }
    return replace(
        endpoint,
        engine=FRONT if embedded else endpoint.engine,
        version=version,
        quantisation=details.get("quantization_level"),
        label=TINY_LABEL if embedded else endpoint.label,
        facts=_known(endpoint, facts),
    )


def same_model(wanted: str, named: str) -> bool:
    """Whether Ollama means the same by two names: one without a tag means `:latest`."""
    return named in (wanted, f"{wanted}:latest") or wanted == f"{named}:latest"


def _label(parameters: object) -> str | None:
    return TINY_LABEL if isinstance(parameters, int) and parameters < TINY_PARAMETERS else None


def _known(endpoint: Endpoint, facts: _Facts) -> _Facts:
    return {**endpoint.facts, **{name: fact for name, fact in facts.items() if fact is not None}}


def _asking(url: str) -> httpx.AsyncClient:
    headers = request_headers(keep_alive=False)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)


async def _ask(http: httpx.AsyncClient, path: str, question: _Facts | None = None) -> Answer:
    url = str(http.base_url).rstrip("/")
    try:
        answer = await (http.get(path) if question is None else http.post(path, json=question))
    except httpx.ConnectError as error:
        raise UsageError(f"nothing answers at {url} ({error}): start the server or correct the address") from None
    except httpx.TransportError:
        return Answer(0, "", "", {})  # a server that knows its one path only; a request to that one will tell
    content_type = answer.headers.get("content-type", "")
    try:
        body = answer.json()
    except ValueError:
        body = {}
    return Answer(answer.status_code, answer.headers.get("server", ""), content_type, _object(body))


def _object(value: object) -> _Facts:
    return value if isinstance(value, dict) else {}


def _entries(body: _Facts, name: str) -> list[_Facts]:
    entries = body.get(name)
    return [entry for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
