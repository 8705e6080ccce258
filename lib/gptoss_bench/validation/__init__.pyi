from .annotations import OneOf, Wanted
from .mistakes import Mistake, choices_text, find_mistakes, shown_name, shown_value

__all__ = [
    "Mistake",
    "OneOf",
    "Wanted",
    "choices_text",
    "find_mistakes",
    "shown_name",
    "shown_value",
]
