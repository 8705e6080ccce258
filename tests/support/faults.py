"""Shared by tests/faults: how long they try (`make test-faults` sets FAULTS=long), and what they have counted.

`python tests/support/faults.py` writes the figures of the last `make test-faults` into docs/reliability.md.
"""

import json
import os
import platform
import re
from collections import Counter
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path

LONG = os.environ.get("FAULTS") == "long"
FIGURES: Counter[str] = Counter()  # printed at the end of a run of tests/faults
ROOT = Path(__file__).parents[2]
FILE, PAGE = ROOT / "results" / "faults.json", ROOT / "docs" / "reliability.md"
BEGIN, END = "<!-- figures: make test-faults -->\n", "<!-- end of figures -->"


def rounds(short: int, long: int) -> int:
    return long if LONG else short


def count(what: str, number: int = 1) -> None:
    FIGURES[what] += number


def write_figures(outcomes: dict[str, int]) -> Path:
    """Write what was counted, with when and where, and return the file."""
    content = {
        "date_utc": f"{datetime.now(UTC):%Y-%m-%d}",
        "system": platform.system(),
        "cpus": os.cpu_count(),
        "python": platform.python_version(),
        "packages": {name: version(name) for name in ("httptools", "hypothesis", "pandas", "pyarrow")},
        "tests": outcomes,
        "counted": dict(sorted(FIGURES.items())),
    }
    FILE.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    return FILE


def figures_text(content: dict) -> str:
    """Return the figures as a sentence and a table."""
    tests = ", ".join(f"{number} {name}" for name, number in content["tests"].items() if number)
    where = f"{content['system']}, {content['cpus']} CPUs, Python {content['python']}"
    rows = "".join(f"| {what} | {number:,} |\n" for what, number in content["counted"].items())
    return f"\n{content['date_utc']}, {where}; tests: {tests}.\n\n| counted | number |\n|---|---|\n{rows}\n"


if __name__ == "__main__":
    text = figures_text(json.loads(FILE.read_text(encoding="utf-8")))
    page = PAGE.read_text(encoding="utf-8")
    PAGE.write_text(re.sub(f"(?s){BEGIN}.*{END}", lambda _: BEGIN + text + END, page), encoding="utf-8")
