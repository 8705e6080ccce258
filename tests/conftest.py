"""Shared by the tests: runs are written to a folder that goes away."""

from pathlib import Path

import pytest
from hypothesis import settings

from gptoss_bench.runs.folder import RunFolder

# No test asserts a time: a busy machine is slow and not wrong.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An open run folder outside the repository's results."""
    return RunFolder.create(tmp_path, "test", parameters={})
