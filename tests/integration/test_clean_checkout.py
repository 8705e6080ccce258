"""Use leaves a checkout clean: after notebooks, runs, reports and sites git sees no change in a copy of this one."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gptoss_bench import paths

IN_ROOT = {"capture_output": True, "text": True, "cwd": paths.ROOT}
TRACKED = subprocess.run(["git", "ls-files", "-z", "-co", "--exclude-standard"], check=False, **IN_ROOT)
pytestmark = pytest.mark.skipif(TRACKED.returncode != 0, reason="this is no checkout: git knows no files here")
SMOKE = "notebooks/profiles/smoke.yaml"


class Checkout:
    """A copy of the files that git knows, committed to a repository of its own."""

    def __init__(self, root: Path) -> None:
        self.root = root
        for name in filter(None, TRACKED.stdout.split("\0")):
            if (paths.ROOT / name).is_file():  # else it was deleted and that is not committed yet
                (root / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(paths.ROOT / name, root / name)
        self.git("init", "--quiet")
        self.git("add", "--force", "--all")
        self.git("-c", "user.name=test", "-c", "user.email=test@localhost", "commit", "--quiet", "--message=all")
        assert self.changes() == []

    def git(self, *arguments: str) -> str:
        return subprocess.run(["git", *arguments], check=True, capture_output=True, text=True, cwd=self.root).stdout

    def changes(self) -> list[str]:
        return self.git("status", "--porcelain").splitlines()

    def python(self, *arguments: str) -> str:
        """Run a module of Python in the copy, with the packages of the copy."""
        environment = os.environ | {"PYTHONPATH": str(self.root / "lib"), "PYTHONDONTWRITEBYTECODE": ""}
        command = [sys.executable, "-m", *arguments]
        done = subprocess.run(command, capture_output=True, text=True, cwd=self.root, env=environment, check=False)
        assert done.returncode == 0, f"{arguments}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done.stdout

    def run_all_and_save(self, name: str) -> None:
        """Execute a notebook that `lab` has copied and write its outputs into it, as Run All and a save do."""
        copy = self.root / "build" / "lab" / f"{name}.ipynb"
        before = copy.read_text(encoding="utf-8")
        self.python("papermill", str(copy), str(copy), "--no-progress-bar", "-f", SMOKE, "--cwd", str(copy.parent))
        assert copy.read_text(encoding="utf-8") != before


@pytest.fixture
def checkout(tmp_path: Path) -> Iterator[Checkout]:
    """A checkout whose notebooks `lab` has copied."""
    found = Checkout(tmp_path / "checkout")
    found.python("gptoss_bench", "lab", "--", "--version")
    assert {file.name for file in (found.root / "build" / "lab").glob("*.ipynb")} == {
        file.name for file in paths.NOTEBOOKS.glob("*.ipynb")
    }
    yield found
    shutil.rmtree(found.root)  # its results need not be kept beside those of the other tests


def test_a_notebook_of_the_lab_and_a_site_leave_the_checkout_clean(checkout: Checkout) -> None:
    checkout.run_all_and_save("endpoint")
    checkout.python("gptoss_bench", "site")
    assert (checkout.root / "build" / "site" / "index.html").exists()
    assert list((checkout.root / "results" / "runs").glob("*-endpoint-*"))
    assert checkout.changes() == []


@pytest.mark.slow  # the test above runs one of the notebooks
def test_every_notebook_and_every_command_of_the_readme_leaves_the_checkout_clean(checkout: Checkout) -> None:
    for notebook in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
        checkout.run_all_and_save(notebook.stem)
        assert checkout.changes() == [], notebook.name
    checkout.python("gptoss_bench", "run", "--profile", SMOKE)
    runs = sorted((checkout.root / "results" / "runs").glob("*-endpoint-*"))
    checkout.python("gptoss_bench", "report", runs[-1].name)
    checkout.python("gptoss_bench", "site")
    assert checkout.changes() == []
