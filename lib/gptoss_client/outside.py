"""Take text, numbers and JSON from outside: from a server's answer, or from a file of unknown origin.

What has passed can be encoded as UTF-8, shown on a terminal and written to a document, and it holds no API key.
"""

import json
import math
import os
import re
from collections.abc import Sequence
from functools import lru_cache
from itertools import accumulate, pairwise
from typing import NamedTuple, TypeAlias

API_KEY_VARIABLE = "GPTOSS_API_KEY"  # the key is read from the environment only and written to request headers only
TEXT_LIMIT = 1_000  # characters of a name or a message
DEPTH_LIMIT = 64  # of JSON
_MOST = 2**63  # no whole number of a table or of a JSON document is larger
_HIDDEN = "[hidden]"
_USER = re.compile(r"""(?<=://)[^\s"'<>]*@|(?<![^\s"'<>(=])[^\s"'<>:@/(=]+:(?!//)[^\s"'<>@]+@(?=[\w\[])""")
_QUERY = re.compile(r"""(?i)([?&;][\w.-]*(?:key|token|secret|pass|pwd|auth|sig|credential)[\w.-]*=)[^\s"'<>&;#]+""")

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
"""JSON whose content is not known beforehand: facts of a server, additional fields of a request."""


def printable_text(text: str, limit: int | None = None) -> str:
    """Return text with an escape, such as \\x1b, for what is not printable or what UTF-8 cannot hold.

    Line breaks and tabs stay, the halves of a surrogate pair are joined. `limit`: number of characters that are kept.
    """
    text = text if limit is None else text[: limit + 1]
    if not text.isprintable():
        if re.search("[\ud800-\udfff]", text):
            text = text.encode("utf-16", "surrogatepass").decode("utf-16", "surrogatepass")
        text = "".join(
            one if one.isprintable() or one in "\n\t" else one.encode("unicode_escape").decode() for one in text
        )
    return text if limit is None or len(text) <= limit else f"{text[: limit - 1]}…"


def one_line(text: str, limit: int = TEXT_LIMIT) -> str:
    """Return a text from outside as one printable line of at most `limit` characters, without secrets."""
    return printable_text(hide_secrets(" ".join(text.split())), limit)


def parse_json(data: bytes | str) -> JsonValue:
    """Return the JSON value in `data`, with printable texts, and null for a number that is not finite or too large.

    Raises ValueError if it is not JSON in UTF-8, or nested deeper than DEPTH_LIMIT.
    """
    try:
        found = json.loads(data.decode() if isinstance(data, bytes) else data, parse_constant=lambda _: None)
    except RecursionError:
        raise ValueError(f"JSON that is nested deeper than {DEPTH_LIMIT}") from None
    return clean_json(found)


def clean_json(value: JsonValue, depth: int = DEPTH_LIMIT) -> JsonValue:
    """Return a decoded JSON value with printable texts and finite numbers. Raises ValueError as `parse_json`."""
    if isinstance(value, str):
        return printable_text(value)
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, int):
        return value if -_MOST <= value < _MOST else None
    if isinstance(value, dict | list) and not depth:
        raise ValueError(f"JSON that is nested deeper than {DEPTH_LIMIT}")
    if isinstance(value, dict):
        return {printable_text(name): clean_json(one, depth - 1) for name, one in value.items()}
    return [clean_json(one, depth - 1) for one in value] if isinstance(value, list) else value


def object_at(value: JsonValue, name: str) -> dict[str, JsonValue]:
    """Return the object at a name of an object; an empty one if it is missing or anything else."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, dict) else {}


def objects_at(value: JsonValue, name: str) -> list[dict[str, JsonValue]]:
    """Return the objects in the list at a name of an object; none if there is no such list."""
    found = value.get(name) if isinstance(value, dict) else None
    return [one for one in found if isinstance(one, dict)] if isinstance(found, list) else []


def text_at(value: JsonValue, name: str) -> str | None:
    """Return the text at a name of an object as one line; None if it is missing, empty or anything else."""
    found = value.get(name) if isinstance(value, dict) else None
    return one_line(found) or None if isinstance(found, str) else None


def count_at(value: JsonValue, name: str) -> int | None:
    """Return the whole number from 0 on at a name of an object; None if it is missing or anything else."""
    found = value.get(name) if isinstance(value, dict) else None
    return found if isinstance(found, int) and not isinstance(found, bool) and 0 <= found < _MOST else None


def api_key() -> str:
    """Return the API key of the environment, "" if there is none."""
    return os.environ.get(API_KEY_VARIABLE, "").strip()


def hide_secrets(text: str) -> str:
    """Return text without the API key, without user and password of URLs, and without keys in their queries."""
    text = hide_key(text)
    if "@" in text:
        text = _USER.sub(f"{_HIDDEN}@", text)
    return _QUERY.sub(rf"\1{_HIDDEN}", text) if "=" in text else text


def hide_key(text: str) -> str:
    """Return text without the API key of the environment, also where a server has escaped its characters."""
    key = _forms(api_key())
    return key.text.sub("[key]", text) if key and any(start in text for start in key.starts) else text


def hide_key_in_pieces(pieces: Sequence[bytes]) -> Sequence[bytes]:
    """Return the pieces of a body with asterisks in place of each byte of the API key; their sizes stay."""
    key = _forms(api_key())
    if key is None:
        return pieces
    body = b"".join(pieces)
    if not any(start.encode() in body for start in key.starts):
        return pieces
    body = key.data.sub(lambda found: b"*" * len(found[0]), body)
    ends = accumulate(map(len, pieces), initial=0)
    return [body[start:end] for start, end in pairwise(ends)]


class _Forms(NamedTuple):
    """How a key may be written: `starts` are the beginnings that it may have, the patterns match it whole."""

    starts: tuple[str, ...]
    text: re.Pattern[str]
    data: re.Pattern[bytes]


@lru_cache(maxsize=4)
def _forms(key: str) -> _Forms | None:
    """Return the forms of a key, None for a key too short to be told from the words and numbers of an answer."""
    if len(key) < (8 if key.isdigit() or (key.isalpha() and key.islower()) else 4):
        return None
    pattern = "".join(rf"(?:\\?{re.escape(one)}|\\u00(?i:{ord(one):02x})|%(?i:{ord(one):02x}))" for one in key)
    plain = re.match(r"[\w.~-]*", key, re.ASCII)  # no encoding of JSON or of URLs escapes these
    first = f"{ord(key[0]):02x}"
    escaped = [sign + code for sign in ("\\u00", "%") for code in {first, first.upper()}]
    starts = ((plain[0] if plain else "") or key[0], *escaped)
    return _Forms(starts, re.compile(pattern), re.compile(pattern.encode()))
