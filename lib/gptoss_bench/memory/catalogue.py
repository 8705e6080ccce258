"""A dictionary whose error for a missing name lists the names that exist."""

from typing import NoReturn, TypeVar

from gptoss_client import UsageError

Entry = TypeVar("Entry")


class Catalogue(dict[str, Entry]):
    """Entries by name; `catalogue[name]` raises UsageError for an unknown name."""

    def __missing__(self, name: str) -> NoReturn:
        """Raise UsageError with the existing names."""
        raise UsageError(f"{name!r} is unknown; choose one of: {', '.join(self)}")
