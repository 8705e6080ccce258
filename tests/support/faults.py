"""Shared by tests/faults: how long they try (`make test-faults` sets FAULTS=long), and what they have counted."""

import os
from collections import Counter

LONG = os.environ.get("FAULTS") == "long"
FIGURES: Counter[str] = Counter()  # printed at the end of a run of tests/faults


def rounds(short: int, long: int) -> int:
    return long if LONG else short


def count(what: str, number: int = 1) -> None:
    FIGURES[what] += number
