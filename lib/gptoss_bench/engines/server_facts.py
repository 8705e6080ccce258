"""Ask a running server about itself over HTTP and add its answers to the facts of its endpoint."""

import os
from collections.abc import Mapping
from dataclasses import replace

import httpx

from gptoss_bench.asking import Answer, NoAnswer, ask
from gptoss_client import API_KEY_VARIABLE, Endpoint, JsonValue, UsageError, one_line

Facts = dict[str, JsonValue]
_MOST_ENTRIES = 100  # of a fact that is a list, or of the facts of one answer


async def fetch(http: httpx.AsyncClient, path: str, body: Mapping[str, JsonValue] | None = None) -> Answer:
    """GET a path, or POST a JSON body to it. Raises UsageError only where no connection can be opened.

    An answer that cannot be read has the status 0: some servers know one path only; the request for a first token
    decides.
    """
    try:
        return await ask(http, path, body)
    except NoAnswer as error:
        if error.connected:
            return Answer()
        url = str(http.base_url).rstrip("/")
        raise UsageError(f"nothing answers at {url} ({error}): start the server or correct the address") from None


def refused_text(url: str, status: int) -> str:
    """Return in words that a server refuses access, and what to do: there is no API key, or it is not accepted."""
    key = "it does not accept the key in" if os.environ.get(API_KEY_VARIABLE) else "put its key into the variable"
    return f"{url} refuses access (HTTP {status}): {key} {API_KEY_VARIABLE}"


def add_facts(endpoint: Endpoint, facts: Mapping[str, JsonValue], *notes: str) -> Endpoint:
    """Return the endpoint with the facts that are not None, and with more notes: sentences shown beside its figures."""
    known = [(name, fact) for name, fact in facts.items() if fact is not None]
    reported = {one_line(name): _limited(fact) for name, fact in known[:_MOST_ENTRIES]}
    former = endpoint.facts.get("notes")
    all_notes: list[JsonValue] = [*(former if isinstance(former, list) else []), *notes]
    return replace(endpoint, facts={**endpoint.facts, **reported, **({"notes": all_notes} if all_notes else {})})


def _limited(fact: JsonValue) -> JsonValue:
    """Return a fact with texts of one line, and with lists of limited length."""
    if isinstance(fact, str):
        return one_line(fact)
    return list(map(_limited, fact[:_MOST_ENTRIES])) if isinstance(fact, list) else fact


def same_model(wanted: str, listed: str) -> bool:
    """Return whether two names mean the same model to Ollama: a name without a tag means `:latest`."""
    return listed in (wanted, f"{wanted}:latest") or wanted == f"{listed}:latest"
