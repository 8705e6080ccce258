"""Define what manifest and summaries have in common: typed records that are read from JSON and written as JSON."""

import json
from collections.abc import Iterable, Sequence
from html import escape
from pathlib import Path
from typing import Any, TypeVar

from pydantic import BaseModel, ConfigDict, JsonValue, TypeAdapter, ValidationError

from gptoss_bench.files import RESTORE, write_json
from gptoss_bench.validation import find_mistakes
from gptoss_client import UsageError, clean_json, one_line

RecordType = TypeVar("RecordType", bound="Record")


class Record(BaseModel):
    """A typed part of a JSON document. Unknown keys are left out; a field that was never set is not written."""

    model_config = ConfigDict(extra="ignore", use_attribute_docstrings=True)

    def document(self) -> dict[str, JsonValue]:
        """Return the fields that were set as JSON types, in the order of the model; NaN and infinity are null.

        Where a null is not allowed, the smallest part around it that may be missing is left out or null: an entry of a
        mapping or list, or an optional field.
        """
        found = clean_json(self.model_dump(mode="json", exclude_unset=True))
        assert isinstance(found, dict)
        depth: dict[tuple[int | str, ...], int] = {}
        while wrong := _first_null(type(self), found):
            depth[wrong] = depth.get(wrong, -1) + 1
            if not (place := wrong[: len(wrong) - depth[wrong]]):
                break
            _leave_out(found, place)
        return found


def _first_null(model: type["Record"], document: JsonValue) -> tuple[int | str, ...] | None:
    """Return the place of the first value that is null or missing and may not be."""
    try:
        model.model_validate_json(json.dumps(document), strict=True)
    except ValidationError as error:
        wrong = [one for one in error.errors() if one["input"] is None or one["type"] in ("missing", "too_short")]
        return wrong[0]["loc"] if wrong else None
    return None


def _leave_out(document: JsonValue, place: tuple[int | str, ...]) -> None:
    """Delete an entry of a mapping or a list, or a field; nothing if it is not there."""
    parent: Any = document
    for step in place[:-1]:
        parent = parent.get(step) if isinstance(parent, dict) else parent[step]
    if isinstance(parent, dict):
        parent.pop(place[-1], None)
    elif isinstance(parent, list) and isinstance(place[-1], int) and place[-1] < len(parent):
        del parent[place[-1]]


def html_table(columns: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a small table for a notebook cell."""

    def cells(values: Sequence[object], tag: str) -> str:
        return "".join(f'<{tag} style="text-align:left">{escape(str(value))}</{tag}>' for value in values)

    body = "".join(f"<tr>{cells(row, 'td')}</tr>" for row in rows)
    return f"<table><thead><tr>{cells(columns, 'th')}</tr></thead><tbody>{body}</tbody></table>"


def write_record(file: Path, record: Record) -> None:
    """Write a record as a JSON document; readers see the old file or the new one."""
    write_json(file, record.document())


def read_record(model: type[RecordType], content: JsonValue, file: Path) -> RecordType:
    """Return the JSON content of `file` as a record. Raises UsageError that names file, field and value if it is not.

    Types are checked strictly: the text "8" is no number.
    """
    try:
        return model.model_validate_json(json.dumps(content), strict=True)
    except ValidationError as error:
        first = find_mistakes(error, TypeAdapter(model))[0]
        raise UsageError(f"{one_line(str(file))}: {first.sentence()}; {RESTORE}") from error


def write_json_schema(file: Path, model: type[Record]) -> None:
    """Write the JSON Schema of a record, as `read_record` checks it."""
    write_json(file, model.model_json_schema())


def number_at(record: "Record | JsonValue", path: str) -> float | None:
    """Return the number at a dotted path of a record, such as "ttft_s.p50"; None if there is no number."""
    value = value_at(record, path)
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


def value_at(record: "Record | JsonValue", path: str) -> Any:
    """Return the value at a dotted path of a record or of the JSON in it; None if the path leads nowhere."""
    value: Any = record
    for name in path.split("."):
        if isinstance(value, BaseModel):
            value = getattr(value, name) if name in type(value).model_fields else (value.model_extra or {}).get(name)
        else:
            value = value.get(name) if isinstance(value, dict) else None
    return value
