from .detect import parse_results

__all__ = [
    "parse_results",
]
