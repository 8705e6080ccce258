"""The type of JSON whose content is not known beforehand: facts of a server, additional fields of a request."""

from typing import TypeAlias

JsonValue: TypeAlias = bool | int | float | str | list["JsonValue"] | dict[str, "JsonValue"] | None
