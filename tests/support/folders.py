"""Where the recorded inputs of the tests lie."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
