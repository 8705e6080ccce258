from .model import Claim, RunRecord, Verdict
from .schema import load_claims
from .verdict_words import FASTER, NOT_COMPARABLE, NOT_TESTABLE, OPINION, OUTDATED, REFUTED, REPRODUCED, SLOWER
from .verdicts import (
    decide_claims,
    verdict_counts,
    verdict_page,
    verdict_text,
    verdicts_from_table,
    verdicts_to_table,
)

__all__ = [
    "FASTER",
    "NOT_COMPARABLE",
    "NOT_TESTABLE",
    "OPINION",
    "OUTDATED",
    "REFUTED",
    "REPRODUCED",
    "SLOWER",
    "Claim",
    "RunRecord",
    "Verdict",
    "decide_claims",
    "load_claims",
    "verdict_counts",
    "verdict_page",
    "verdict_text",
    "verdicts_from_table",
    "verdicts_to_table",
]
