from .model import Claim, RunRecord, Source, Verdict, WithdrawnRun, WriteUp
from .schema import load_write_up
from .verdict_words import BASES, MEASURED, NO_BASIS, VERDICTS, WORDS_BY_BASIS
from .verdicts import (
    basis_counts,
    counts_text,
    decide_claims,
    derived_page,
    evidence_for,
    headline,
    notable_verdicts,
    verdict_counts,
    verdict_page,
    verdict_text,
    verdicts_from_table,
    verdicts_to_table,
)

__all__ = [
    "BASES",
    "MEASURED",
    "NO_BASIS",
    "VERDICTS",
    "WORDS_BY_BASIS",
    "Claim",
    "RunRecord",
    "Source",
    "Verdict",
    "WithdrawnRun",
    "WriteUp",
    "basis_counts",
    "counts_text",
    "decide_claims",
    "derived_page",
    "evidence_for",
    "headline",
    "load_write_up",
    "notable_verdicts",
    "verdict_counts",
    "verdict_page",
    "verdict_text",
    "verdicts_from_table",
    "verdicts_to_table",
]
