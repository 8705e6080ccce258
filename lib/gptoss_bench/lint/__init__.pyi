from .check import REASONS, check_run
from .results import JudgedResult, Result, judge_result, read_results, side_of
from .rules.setup import differing_conditions

__all__ = [
    "REASONS",
    "JudgedResult",
    "Result",
    "check_run",
    "differing_conditions",
    "judge_result",
    "read_results",
    "side_of",
]
