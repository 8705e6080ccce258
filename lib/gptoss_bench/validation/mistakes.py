"""Turn the errors of pydantic into sentences, one per mistake.

A sentence names the field, its value and, for a misspelt word, the nearest right one.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from difflib import get_close_matches
from itertools import zip_longest
from typing import Any

from pydantic import JsonValue, TypeAdapter, ValidationError
from pydantic_core import ErrorDetails

from gptoss_client import hide_secrets

SHOWN_LENGTH = 60  # characters of a value in a sentence
KEY = "[key]"  # pydantic's last step to an error in the key of a mapping
WANTED = {
    "string_type": "a text",
    "int_type": "a whole number",
    "int_from_float": "a whole number",
    "float_type": "a number",
    "finite_number": "a finite number",
    "bool_type": "true or false",
    "list_type": "a list",
    "tuple_type": "a list",
    "dict_type": "a mapping, name: value",
    "mapping_type": "a mapping, name: value",
    "model_type": "a mapping, name: value",
    "model_attributes_type": "a mapping, name: value",
    "date_type": "a date, such as 2025-08-05",
}


@dataclass(frozen=True, slots=True)
class Mistake:
    """A mistake: the path of the field, as keys and places in lists, and what is wrong with it."""

    path: tuple[str | int, ...]
    text: str

    def sentence(self, *, start: int = 0) -> str:
        """Return field and mistake, such as "with.entries[0].holds is missing; add it", from a step of the path on."""
        steps = (f"[{step}]" if isinstance(step, int) else f".{shown_name(step)}" for step in self.path[start:])
        return f"{''.join(steps).removeprefix('.')} {self.text}".strip()


def find_mistakes(error: ValidationError, model: TypeAdapter[Any]) -> list[Mistake]:
    """Return the mistakes behind the error that `model` raised, in its order."""
    schema = model.json_schema()
    # A list with a wrong entry is reported as too short as well, because only its right entries are counted.
    found = [one for one in error.errors(include_url=False) if one["type"] != "too_short" or not one["input"]]
    return [_mistake(one, schema) for one in found]


def choices_text(value: object, words: Iterable[str]) -> str:
    """Return which of the words was meant, or all of them where none is like the value."""
    known = [str(word) for word in words]
    near = get_close_matches(str(value), known, n=1, cutoff=0.5)
    return f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(word or repr(word) for word in known)}"


def shown_value(value: object) -> str:
    """Return a value as Python writes it, at most SHOWN_LENGTH characters of it."""
    shown = hide_secrets(repr(value))
    return shown if len(shown) <= SHOWN_LENGTH else f"{shown[: SHOWN_LENGTH - 1]}…"


def shown_name(name: str) -> str:
    """Return a name as it is, or as Python writes it where it would break the line."""
    return name if name.isprintable() and len(name) <= SHOWN_LENGTH else shown_value(name)


def _mistake(error: ErrorDetails, schema: dict[str, Any]) -> Mistake:
    kind, loc, value = error["type"], error["loc"], error["input"]
    if kind in ("extra_forbidden", "invalid_key"):
        path, found = _walk(schema, loc[:-1])
        key = str(loc[-1])
        return Mistake((*path, key), f"is unknown; {choices_text(key, found.get('properties', ()))}")
    path, found = _walk(schema, loc)
    tag = found.get("discriminator", {})
    if kind.startswith("union_tag"):
        path = (*path, tag["propertyName"])
    if kind in ("missing", "union_tag_not_found"):
        return Mistake(path, "is missing; add it")
    if kind == "union_tag_invalid":
        value = error["ctx"]["tag"]
    return Mistake(path, f"is {shown_value(value)}; {_advice(error, found, value, tag)}")


def _advice(error: ErrorDetails, found: dict[str, Any], value: object, tag: dict[str, Any]) -> str:
    """Return what the value has to be."""
    kind, context = error["type"], error.get("ctx", {})
    if kind in ("literal_error", "union_tag_invalid"):
        return choices_text(value, tag.get("mapping") or found.get("enum") or [found.get("const")])
    wanted = context.get("wanted") or WANTED.get(kind)
    if kind == "too_short":
        wanted = "a list that is not empty"
    if kind == "string_pattern_mismatch" and "examples" in found:
        wanted = f"like {found['examples'][0]}"
    if wanted:
        return f"it has to be {wanted}"
    message = str(context["error"]) if kind == "value_error" else error["msg"]
    return message[:1].lower() + message[1:]


def _walk(schema: dict[str, Any], loc: Sequence[str | int]) -> tuple[tuple[str | int, ...], dict[str, Any]]:
    """Follow the place of an error through a JSON Schema; return its path in the data and the schema there."""
    path: list[str | int] = []
    found = _resolved(schema, schema)
    for step, after in zip_longest(loc, loc[1:]):
        if step == KEY:
            break
        if "discriminator" in found:
            below: JsonValue = {"$ref": found["discriminator"]["mapping"][step]}
        else:
            path.append(step)
            if after == KEY:
                below = found.get("propertyNames", {})
            elif isinstance(step, int):
                below = found.get("items") or (found.get("prefixItems") or [{}])[0]
            else:
                below = found.get("properties", {}).get(step) or found.get("additionalProperties") or {}
        found = _resolved(below if isinstance(below, dict) else {}, schema)
    return tuple(path), found


def _resolved(part: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Follow a reference, and take what may be null for what it is otherwise."""
    while "$ref" in part or "anyOf" in part:
        if "$ref" in part:
            part = schema["$defs"][part["$ref"].rpartition("/")[2]]
        else:
            part = next((one for one in part["anyOf"] if one.get("type") != "null"), {})
    return part
