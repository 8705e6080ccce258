"""The working copies of JupyterLab, and the executed copies of runs that were made by hand."""

import nbformat
import pytest

from folders import TESTS
from gptoss_bench import paths
from gptoss_bench.notebook.lab import keep_executed_copy, lab_command, prepare_lab
from gptoss_bench.runs.folder import RunFolder


@pytest.fixture
def sources(tmp_path, monkeypatch):
    """Two notebooks in the place of those of the repository."""
    folder = tmp_path / "notebooks"
    folder.mkdir()
    for name in ("whole", "no_result"):
        (folder / f"{name}.ipynb").write_bytes((TESTS / "notebooks" / f"{name}.ipynb").read_bytes())
    monkeypatch.setattr(paths, "NOTEBOOKS", folder)
    return folder


def edit(path, source: str) -> None:
    book = nbformat.read(path, as_version=4)
    book.cells[-1].source = source
    nbformat.write(book, path)


def source_of(path) -> str:
    return nbformat.read(path, as_version=4).cells[-1].source


def test_copies_follow_the_repository_unless_their_cells_were_changed(sources, tmp_path):
    lab = tmp_path / "lab"
    assert prepare_lab(lab) == []
    book = nbformat.read(lab / "whole.ipynb", as_version=4)
    book.cells[-1].outputs = [nbformat.v4.new_output("stream", text="of a run")]
    nbformat.write(book, lab / "whole.ipynb")
    assert prepare_lab(lab) == []
    assert nbformat.read(lab / "whole.ipynb", as_version=4).cells[-1].outputs  # outputs are no change

    edit(sources / "whole.ipynb", "new = 1")
    edit(lab / "no_result.ipynb", "mine = 1")
    edit(sources / "no_result.ipynb", "new = 1")
    assert prepare_lab(lab) == ["no_result.ipynb"]
    assert source_of(lab / "whole.ipynb") == "new = 1" and source_of(lab / "no_result.ipynb") == "mine = 1"
    assert (lab / ".gitignore").read_text() == "*\n"


def test_root_may_start_jupyterlab_and_options_are_passed_on(tmp_path, monkeypatch):
    monkeypatch.setattr("os.geteuid", lambda: 0)
    command = lab_command(tmp_path / "lab", ["--no-browser"])
    assert command[-2:] == ["--allow-root", "--no-browser"]
    monkeypatch.setattr("os.geteuid", lambda: 1000)
    assert "--allow-root" not in lab_command(tmp_path / "lab", [])


def test_a_saved_notebook_is_kept_with_the_run_that_it_wrote(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    saved = tmp_path / "my_scenario.ipynb"
    saved.write_bytes((TESTS / "notebooks" / "whole.ipynb").read_bytes())
    older = RunFolder.create(
        tmp_path / "results", "my-scenario", parameters={}, run_id="20260101T000000Z-my-scenario-00"
    )
    older.finish()
    newer = RunFolder.create(
        tmp_path / "results", "my-scenario", parameters={}, run_id="20260102T000000Z-my-scenario-00"
    )
    keep_executed_copy({"type": "notebook"}, str(saved))
    assert not list((tmp_path / "results").rglob("notebook.ipynb"))  # the newest run goes on

    newer.finish()
    keep_executed_copy({"type": "file"}, str(saved))
    assert not (newer.path / "notebook.ipynb").exists()
    keep_executed_copy({"type": "notebook"}, str(saved))
    edit(saved, "later = 1")
    keep_executed_copy({"type": "notebook"}, str(saved))  # as autosave does when the last output has come
    assert source_of(newer.path / "notebook.ipynb") == "later = 1"
    assert not (older.path / "notebook.ipynb").exists()


def test_a_notebook_that_papermill_executed_is_not_replaced(tmp_path, monkeypatch):
    monkeypatch.setattr(paths, "RESULTS", tmp_path / "results")
    saved = tmp_path / "my_scenario.ipynb"
    saved.write_bytes((TESTS / "notebooks" / "whole.ipynb").read_bytes())
    run = RunFolder.create(tmp_path / "results", "my-scenario", parameters={})
    run.finish()
    (run.path / "notebook.ipynb").write_bytes(saved.read_bytes())
    edit(saved, "other = 1")
    keep_executed_copy({"type": "notebook"}, str(saved))
    assert source_of(run.path / "notebook.ipynb") != "other = 1"
