"""Read what another tool wrote as typed records: the content of a file enters, a record or a UsageError leaves."""

import math
from dataclasses import dataclass
from typing import Annotated, Self

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, TypeAdapter, ValidationError

from gptoss_bench.validation import find_mistakes
from gptoss_client import UsageError


@dataclass(frozen=True, slots=True)
class Tool:
    """A benchmark tool, and the versions whose files this kit reads."""

    name: str
    versions_read: str


def _known(value: object) -> object:
    """Return None for NaN, with which tools write a number that they do not know."""
    return None if isinstance(value, float) and math.isnan(value) else value


# The bounds leave room for every real result, and none of these numbers overflows a column of the tables.
Number = Annotated[float, Field(allow_inf_nan=False, ge=-1e15, le=1e15)]
Seconds = Annotated[float, Field(allow_inf_nan=False, ge=-1e9, le=1e9)]
Moment = Annotated[float, Field(allow_inf_nan=False, ge=0, le=9e9)]
"""Seconds of a clock, such as those since 1970."""
Count = Annotated[int, Field(ge=0, lt=2**31)]
TokenSum = Annotated[int, Field(ge=0, le=10**15)]
MaybeNumber = Annotated[Number | None, BeforeValidator(_known)]


class ToolFile(BaseModel):
    """A part of a file of another tool: the fields that this kit reads; all others are left out.

    A field that a version of the tool does not write is None, so None is "not reported".
    """

    model_config = ConfigDict(extra="ignore", strict=True, frozen=True)

    @classmethod
    def read(cls, content: object, *, file: str, tool: Tool, version: str | None = None) -> Self:
        """Return the content of a file as this record; `version` is the one that the file states, None without.

        Raises UsageError with the name of the `file`, the first field that is missing or wrong, the `tool`, the version
        and the versions that this kit reads.
        """
        try:
            return cls.model_validate(content)
        except ValidationError as error:
            first, *others = find_mistakes(error, TypeAdapter(cls))
            more = f" ({len(others)} more fields are wrong)" if others else ""
            states = f"version {version[:30]!r}" if version else "no version in it"
            raise UsageError(
                f"{file}: {first.sentence()}{more}; the file is like those of {tool.name} ({states}; this kit reads"
                f" {tool.versions_read}), but truncated or changed, or of another version"
            ) from error
