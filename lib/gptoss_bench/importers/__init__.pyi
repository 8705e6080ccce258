from .benchmark_report import write_benchmark_report
from .detect import find_results, parse_results
from .imported_result import ImportedResult, ImportedSummary, TokenRate

__all__ = [
    "ImportedResult",
    "ImportedSummary",
    "TokenRate",
    "find_results",
    "parse_results",
    "write_benchmark_report",
]
