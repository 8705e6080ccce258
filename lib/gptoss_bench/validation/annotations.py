"""Annotate a field with what its value has to be, where pydantic's own types cannot say it in words."""

from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from pydantic import GetCoreSchemaHandler
from pydantic_core import core_schema


@dataclass(frozen=True, slots=True)
class OneOf:
    """Annotation of a text that is one of `words`, for words that are known only at run time."""

    words: Collection[str]

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema of a literal."""
        return core_schema.literal_schema(list(self.words))


@dataclass(frozen=True, slots=True)
class Wanted:
    """Annotation of a union: a value of none of its types is one mistake, which says that it has to be `text`."""

    text: str

    def __get_pydantic_core_schema__(self, source: Any, handler: GetCoreSchemaHandler) -> core_schema.CoreSchema:
        """Return the schema of the union with one error of its own."""
        return core_schema.custom_error_schema(
            handler(source),
            "wanted",
            custom_error_message="it has to be {wanted}",
            custom_error_context={"wanted": self.text},
        )
