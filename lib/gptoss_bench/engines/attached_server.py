"""Attach to a running server: clean its URL, recognise its engine, wait for a token, add what it reports."""

import contextlib
import socket
from collections.abc import Mapping
from dataclasses import replace
from urllib.parse import urlsplit

import httpx

from gptoss_bench.asking import question_client
from gptoss_bench.engines.identify import Identity, identify
from gptoss_bench.engines.known_model import label_unknown_model
from gptoss_bench.engines.readiness import first_token
from gptoss_bench.engines.registry import DIALECTS, ENGINE_SPECS
from gptoss_bench.engines.server_facts import add_facts, fetch, same_model
from gptoss_bench.runs import REFERENCE_LABEL, REMOTE_LABEL, join_labels
from gptoss_client import Endpoint, JsonValue, UsageError, object_at

_API_PATHS = ("/v1/chat/completions", "/api/chat", "/v1")


async def attach(
    url: str,
    model: str,
    dialect: str = "",
    *,
    timeout_s: float = 300.0,
    options: Mapping[str, JsonValue] | None = None,
) -> Endpoint:
    """Return the endpoint of the server at `url` after it has returned a token of `model`.

    Args:
        url: address of the server, with or without the path of an API.
        model: model to use; empty for the only one that the server lists.
        dialect: "ollama" or "openai"; empty for Ollama's own API where the server is Ollama, else OpenAI's.
        timeout_s: limit of the wait for the token.
        options: request options of the load that follows; Ollama loads the model by them.

    Raises:
        UsageError: the address, the server or the model is not usable; the message is one line.
    """
    root = clean_url(url)
    if dialect not in ("", *DIALECTS):
        raise UsageError(f"the dialect {dialect!r} is unknown: choose one of {', '.join(DIALECTS)}")
    seen = await identify(root)
    engine = seen.engine
    if dialect == "ollama" and not seen.speaks_ollama:
        raise UsageError(f"{root} is no Ollama server (it looks like {engine}): use the dialect openai")
    endpoint = Endpoint(
        url=root,
        model=_choose(root, model, seen),
        dialect=dialect or ("ollama" if engine == "ollama" else "openai"),
        engine=engine,
        keep_alive=engine != "llama.cpp",
    )
    await first_token(endpoint, timeout_s=timeout_s, options=options)
    found = add_facts(await describe(endpoint), {"engine_known_by": list(seen.signs) or None})
    if is_here(urlsplit(root).hostname or ""):
        return found
    note = "the server is on another machine: machine and GPUs of this run are those of the client"
    return add_facts(replace(found, label=join_labels(found.label, REMOTE_LABEL)), {}, note)


def is_here(host: str) -> bool:
    """Return whether a host name means this machine: only its own addresses can be bound."""
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
    """Return the root of a server's URL, without a trailing slash and without the path of an API.

    Raises UsageError where the scheme is not http or https, the host is missing or no name, the port is not a number,
    or the URL contains a user, a password, a query or a fragment. The message repeats nothing of the URL: in a wrong
    one, a part that looks like a port or a path may be a password.
    """
    text = url.strip()
    if "@" in text:
        raise UsageError("the server's address has a user or password in it: a key goes into GPTOSS_API_KEY alone")
    if "?" in text or "#" in text:
        raise UsageError("the server's address has a query or fragment in it: write http://HOST:PORT alone")
    try:
        parts = urlsplit(text)
        port = parts.port
        host = httpx.URL(text).host
    except (ValueError, httpx.InvalidURL):
        raise UsageError("the server's address cannot be read: write http://HOST:PORT or https://HOST") from None
    if parts.scheme not in ("http", "https") or not parts.hostname or not host or not text.isprintable():
        raise UsageError(
            "the server's address lacks http:// or https://, or its host: write http://HOST:PORT or https://HOST"
        )
    path = parts.path.rstrip("/")
    for tail in _API_PATHS:
        if path.endswith(tail):
            path = path.removesuffix(tail)
            break
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return f"{parts.scheme}://{host}{f':{port}' if port is not None else ''}{path.rstrip('/')}"


def _choose(url: str, model: str, seen: Identity) -> str:
    advice = f"; to download it: ollama pull {model}" if seen.engine == "ollama" else ""
    if not model:
        if len(seen.models) != 1:
            raise UsageError(f"choose a model of {url} (in a shell --model NAME): {seen.listing}")
        return seen.models[0]
    if seen.models and not any(same_model(model, name) for name in seen.models):
        raise UsageError(f"{url} does not serve the model {model}: {seen.listing}{advice}")
    return model


async def describe(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what its server reports; what it does not report stays None."""
    spec = ENGINE_SPECS.get(endpoint.engine)
    if spec is None:
        return label_unknown_model(endpoint)
    async with question_client(endpoint.url) as http:
        found = await spec.describe(http, endpoint)
    return replace(label_unknown_model(found), request_fields=spec.request_fields)


async def describe_reference(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint of the kit's reference server with the plan of its replies."""
    plan = object_at((await fetch(http, "/reference")).body, "plan")
    return add_facts(replace(endpoint, label=endpoint.label or REFERENCE_LABEL), plan)
