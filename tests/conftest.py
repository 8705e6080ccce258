"""Shared by the tests: runs are written to a folder that goes away."""

from pathlib import Path

import pytest

from gptoss_bench.runs.folder import RunFolder


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An open run folder outside the repository's results."""
    return RunFolder.create(tmp_path, "test", parameters={})
