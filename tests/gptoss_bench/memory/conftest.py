"""Children of attempts that misbehave on purpose."""

import os
from collections.abc import Callable
from pathlib import Path

import pytest

from gptoss_bench import paths


@pytest.fixture
def inject(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[[str, str], str]:
    """Write a module that `python -m` finds in a child process; return its name."""

    def write(name: str, code: str) -> str:
        folder = tmp_path / "injected"
        folder.mkdir(exist_ok=True)
        (folder / f"{name}.py").write_text(code)
        monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(paths.PACKAGE.parent)]))
        return name

    return write
