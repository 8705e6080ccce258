"""Ask a running server about itself over HTTP and add its answers to the facts of its endpoint."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

import httpx

from gptoss_client import Endpoint, UsageError, request_headers

Facts = dict[str, Any]
_TIMEOUT_S = 5.0


@dataclass(frozen=True, slots=True)
class Answer:
    """The answer to one request: `body` is the decoded JSON object, {} where it is none.

    `status` is 0 where the server accepted the connection but did not answer; `server` is the Server header.
    """

    status: int
    server: str
    content_type: str
    body: Facts
    text: str = ""


def facts_client(url: str) -> httpx.AsyncClient:
    """Return an HTTP client for requests outside the load; it sends the API key where there is one."""
    headers = request_headers(keep_alive=False)
    return httpx.AsyncClient(base_url=url, headers=headers, timeout=_TIMEOUT_S, trust_env=False)


async def fetch(http: httpx.AsyncClient, path: str, body: Mapping[str, Any] | None = None) -> Answer:
    """GET a path, or POST a JSON body to it. Raises UsageError only where the connection is refused."""
    url = str(http.base_url).rstrip("/")
    try:
        response = await (http.get(path) if body is None else http.post(path, json=body))
    except httpx.ConnectError as error:
        raise UsageError(f"nothing answers at {url} ({error}): start the server or correct the address") from None
    except httpx.TransportError:
        return Answer(0, "", "", {})  # some servers know one path only; the request for a first token decides
    content_type = response.headers.get("content-type", "")
    try:
        decoded = response.json()
    except ValueError:
        decoded = {}
    server = response.headers.get("server", "")
    return Answer(response.status_code, server, content_type, json_object(decoded), response.text)


def json_object(value: object) -> Facts:
    """Return the value where it is a JSON object, else an empty one."""
    return value if isinstance(value, dict) else {}


def text_field(body: Facts, name: str) -> str | None:
    """Return the field of an answer where it is a text, None where it is missing or anything else."""
    found = body.get(name)
    return found if isinstance(found, str) else None


def entries(body: Facts, name: str) -> list[Facts]:
    """Return the objects of the list `name`; none where there is no such list."""
    found = body.get(name)
    return [entry for entry in found if isinstance(entry, dict)] if isinstance(found, list) else []


def add_facts(endpoint: Endpoint, facts: Mapping[str, Any], *notes: str) -> Endpoint:
    """Return the endpoint with the facts that are not None, and with more notes: sentences shown beside its figures."""
    reported = {name: fact for name, fact in facts.items() if fact is not None}
    former = endpoint.facts.get("notes")
    all_notes = [*(former if isinstance(former, list) else []), *notes]
    return replace(endpoint, facts={**endpoint.facts, **reported, **({"notes": all_notes} if all_notes else {})})


def same_model(wanted: str, listed: str) -> bool:
    """Return whether two names mean the same model to Ollama: a name without a tag means `:latest`."""
    return listed in (wanted, f"{wanted}:latest") or wanted == f"{listed}:latest"
