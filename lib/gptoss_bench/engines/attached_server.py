"""A server that runs already: its address made clean, its engine recognised, its model asked for a token."""
# MERGED: Which server answers at an address, and what it says of itself: one line for each engine that the kit kno

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

import httpx

from gptoss_bench.engines.questions import as_object, ask, asking, entries, same_model, with_facts
from gptoss_bench.engines.readiness import first_token
from gptoss_bench.engines.registry import ENGINE_SPECS, REFERENCE_SERVER, understood_fields
from gptoss_bench.runs import REFERENCE_LABEL, REMOTE_LABEL, join_labels
from gptoss_client import API_KEY_VARIABLE, Endpoint, UsageError

DIALECTS = ("openai", "ollama")
_API_PATHS = ("/v1/chat/completions", "/api/chat", "/v1")


async def attach(
    url: str,
    model: str,
    dialect: str | None = None,
    *,
    timeout_s: float = 300.0,
    options: Mapping[str, Any] | None = None,
) -> Endpoint:
    """Return the endpoint of a server at `url` once a token of `model` came back from it.

    `dialect` None takes Ollama's own API where the server is an Ollama, else OpenAI's. An empty `model` takes the
    only one that the server names. `options` are those of the load that follows, where they decide how Ollama loads the
    model. Raises UsageError, in one line, where the address, the server or the model is not
    what it has to be.
    """
    root = clean_url(url)
    if dialect not in (None, *DIALECTS):
        raise UsageError(f"the dialect {dialect!r} is unknown: choose one of {', '.join(DIALECTS)}")
    engine, models = await identify(root)
    if dialect == "ollama" and engine not in ("ollama", REFERENCE_SERVER):
        raise UsageError(f"{root} is no Ollama server (it looks like {engine}): use the dialect openai")
    endpoint = Endpoint(
        url=root,
        model=_choose(root, engine, model, models),
        dialect=dialect or ("ollama" if engine == "ollama" else "openai"),
        engine=engine,
        keep_alive=engine != "llama.cpp",
    )
    await first_token(endpoint, timeout_s=timeout_s, options=options)
    found = await describe(endpoint)
    if is_here(urlsplit(root).hostname or ""):
        return found
    note = "the server is on another machine: what this run tells of machine and GPUs is the client's"
    return with_facts(replace(found, label=join_labels(found.label, REMOTE_LABEL)), {}, note)


def is_here(host: str) -> bool:
    """Whether a host name means this machine: only an address of our own can be bound."""
    try:
        addresses = socket.getaddrinfo(host, 0, type=socket.SOCK_DGRAM)
    except OSError:
        return False
    for family, kind, _, _, address in addresses:
        with contextlib.suppress(OSError), socket.socket(family, kind) as own:
            own.bind(address)
            return True
    return False


def clean_url(url: str) -> str:
    """Return the root of a server's address: no trailing slash, no path of an API.

    Raises UsageError where the scheme is not http or https, where the host is missing or the port no number, and
    where a user, a password, a query or a fragment is in it (the message does not repeat them).
    """
    text = url.strip()
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"the server's address cannot be read ({error}): write http://HOST:PORT") from None
    if parts.username is not None or parts.password is not None:
        raise UsageError("the server's address has a user or password in it: a key goes into GPTOSS_API_KEY alone")
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise UsageError(f"the server's address {text!r} is none: write http://HOST:PORT or https://HOST")
    if parts.query or parts.fragment:
        raise UsageError("the server's address has a query or fragment in it: write http://HOST:PORT alone")
    path = parts.path.rstrip("/")
    for tail in _API_PATHS:
        if path.endswith(tail):
            path = path.removesuffix(tail)
            break
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path.rstrip('/')}"


def _choose(url: str, engine: str, model: str, models: list[str]) -> str:
    named = f"it names {', '.join(models)}" if models else "it names none"
    advice = f"; to fetch it: ollama pull {model}" if engine == "ollama" else ""
    if not model:
        if len(models) != 1:
            raise UsageError(f"say which model of {url} is meant: {named}")
        return models[0]
    if models and not any(same_model(model, name) for name in models):
        raise UsageError(f"{url} does not serve the model {model}: {named}{advice}")
    return model


async def identify(url: str) -> tuple[str, list[str]]:
    """Return the engine that answers at `url` and the models that it names (none where it does not tell).

    The engine is "llama.cpp", "truth-server", "ollama", "vllm", "transformers" or "openai-compatible", which is also
    what does not tell. Raises UsageError, in one line, where nothing answers there, where it is a web page, where a
    key is wanted.
    """
    async with asking(url) as http:
        listed = await ask(http, "/v1/models")
        if listed.status in (401, 403):
            raise UsageError(f"{url} refuses access (HTTP {listed.status}): put its key into {API_KEY_VARIABLE}")
        models = [str(entry["id"]) for entry in entries(listed.body, "data") if "id" in entry]
        if listed.server in ("llama.cpp", REFERENCE_SERVER):
            return listed.server, models
        if "version" in (await ask(http, "/api/version")).body:
            tags = await ask(http, "/api/tags")
            return "ollama", [str(entry["name"]) for entry in entries(tags.body, "models") if "name" in entry]
        if "version" in (await ask(http, "/version")).body:
            return "vllm", models
        if "html" in listed.content_type:
            raise UsageError(f"{url} answers with a web page and not with an API: give the root of a model server")
        if "/load_model" in (await ask(http, "/openapi.json")).body.get("paths", {}):
            return "transformers", []  # what it lists is the hub's cache, and not what it serves
        return "openai-compatible", models


async def describe(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what its server says of itself. A question that it does not answer stays None."""
    spec = ENGINE_SPECS.get(endpoint.engine)
    if spec is None:
        return endpoint
    async with asking(endpoint.url) as http:
        found = await spec.describe(http, endpoint)
    return replace(found, request_fields=understood_fields(found.engine))


async def describe_reference(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint of the kit's own paced server with its plan, which is all that there is to it."""
    plan = as_object((await ask(http, "/reference")).body.get("plan"))
    return with_facts(replace(endpoint, label=endpoint.label or REFERENCE_LABEL), plan)
