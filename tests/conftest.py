"""Shared by the tests: runs are written to a folder that goes away."""

import gc
import json
import signal
from collections.abc import Generator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import settings

from gptoss_bench.runs.folder import RunFolder

# No test asserts a time: a busy machine is slow and not wrong.
settings.register_profile("no-deadline", deadline=None)
settings.load_profile("no-deadline")

# A shell starts a background job with SIGINT ignored, and its children inherit that: these tests interrupt children.
if signal.getsignal(signal.SIGINT) == signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.hookimpl(wrapper=True)
def pytest_report_to_serializable() -> Generator[None, Any, Any]:
    """Let a report hold half a surrogate pair: pytest-xdist sends reports between processes as UTF-8 only."""
    sent = json.loads(json.dumps((yield), ensure_ascii=False).encode("utf-8", "replace"))
    if sent and isinstance(sent.get("longrepr"), list):  # of a module that is skipped: file, line and reason
        sent["longrepr"] = tuple(sent["longrepr"])
    return sent


def pytest_collection_finish() -> None:
    """Leave what was imported out of the garbage collections that each load of this process makes."""
    gc.collect()
    gc.freeze()


@pytest.fixture
def folder(tmp_path: Path) -> RunFolder:
    """An open run folder outside the repository's results."""
    return RunFolder.create(tmp_path, "test", parameters={})
