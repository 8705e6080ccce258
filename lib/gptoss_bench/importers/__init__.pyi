from .detect import parse_result

__all__ = [
    "parse_result",
]
