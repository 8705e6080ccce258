from .check import RULES, CheckedResult, check_result, check_run
from .results import Result, read_results
from .rules.arithmetic import reported_figures
from .rules.setup import differing_conditions

__all__ = [
    "RULES",
    "CheckedResult",
    "Result",
    "check_result",
    "check_run",
    "differing_conditions",
    "read_results",
    "reported_figures",
]
