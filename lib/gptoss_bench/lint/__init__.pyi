from .check import RULES, CheckedResult, check_result, check_run
from .results import Result, comparison_side, read_results
from .rules.setup import differing_conditions

__all__ = [
    "RULES",
    "CheckedResult",
    "Result",
    "check_result",
    "check_run",
    "comparison_side",
    "differing_conditions",
    "read_results",
]
