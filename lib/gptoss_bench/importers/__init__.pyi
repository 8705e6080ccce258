from .detect import parse_results
from .imported_result import ImportedResult, ImportedSummary

__all__ = [
    "ImportedResult",
    "ImportedSummary",
    "parse_results",
]
