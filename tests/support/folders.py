"""The folder of the recorded test inputs."""

from pathlib import Path

TESTS = Path(__file__).resolve().parents[1]
