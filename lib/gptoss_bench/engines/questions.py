"""Asking a server about itself over HTTP: answers whole or missing, never an exception but where nothing answers."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from gptoss_client import Endpoint, UsageError, request_headers

Facts = dict[str, Any]
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """One answer to a GET or POST. `body` is the decoded JSON, {} where it is none or no object.

    A question that the server did not answer has status 0.
    """

    status: int
    server: str  # the Server header
    content_type: str
    body: Facts
    text: str = ""


def asking(url: str) -> httpx.AsyncClient:
    """A client for questions beside the load, with the key where there is one."""
    headers = request_headers(keep_alive=False)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)


async def ask(http: httpx.AsyncClient, path: str, question: Mapping[str, Any] | None = None) -> Answer:
    """GET a path, or POST a question to it. Raises UsageError, in one line, where nothing answers at all."""
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
    return Answer(answer.status_code, answer.headers.get("server", ""), content_type, as_object(body), answer.text)


def as_object(value: object) -> Facts:
    """The value where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def entries(body: Facts, name: str) -> list[Facts]:
    """The objects of the list of that name; none where there is no such list."""
    found = body.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def with_facts(endpoint: Endpoint, facts: Mapping[str, Any], *notes: str) -> Endpoint:
    """The endpoint with those facts that are known, and with more notes: sentences to be read beside its figures."""
    known = {name: fact for name, fact in facts.items() if fact is not None}
    said = [*endpoint.facts.get("notes", []), *notes]
    return replace(endpoint, facts={**endpoint.facts, **known, **({"notes": said} if said else {})})


def same_model(wanted: str, named: str) -> bool:
    """Whether Ollama means the same by two names: one without a tag means `:latest`."""
    return named in (wanted, f"{wanted}:latest") or wanted == f"{named}:latest"
