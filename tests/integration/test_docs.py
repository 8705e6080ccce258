"""Paths that README and docs name exist, and their Python snippets import."""

import ast
import importlib
import os
import re
import subprocess
import sys
from functools import partial
from importlib.util import find_spec
from pathlib import Path

import pytest

import gptoss_bench
import published
from gptoss_bench import paths
from gptoss_bench.runs.folder import Run

DOCS = [paths.ROOT / "README.md", paths.RESULTS / "README.md", *sorted((paths.ROOT / "docs").glob("*.md"))]
BASES = (paths.ROOT, paths.ROOT / "lib", paths.PACKAGE)
# A folder ends with a slash, a file with an ending; capitals are placeholders, and build/ is created by make.
PATH = re.compile(r"(?!build/)[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|pyi|md|yaml|toml|ipynb|csv|json|txt|lock))")
PLACEHOLDER = re.compile(r"\b(?:NAME|RUN|FILE)\b")
# Files of a run, a model or a bench folder.
RUN_FILES = {"manifest.json", "summary.json", "lint.json", "notebook.ipynb", "workers.json", "step.json"}
FILE_NAMES = {*RUN_FILES, "config.json", "rows.csv", "tables.md"}


def paths_in(text: str) -> set[str]:
    prose = re.sub(r"^```.*?^```", "", text, flags=re.DOTALL | re.MULTILINE)
    quoted = {code for code in re.findall(r"`([^`\n]+)`", prose) if PATH.fullmatch(code)}
    return {path for path in quoted - FILE_NAMES if not PLACEHOLDER.search(path)}


@pytest.mark.parametrize("document", DOCS, ids=lambda file: str(file.relative_to(paths.ROOT)))
def test_every_path_and_link_leads_to_a_file(document):
    text = document.read_text(encoding="utf-8")
    bases = (*BASES, document.parent, paths.NOTEBOOKS)
    assert [path for path in sorted(paths_in(text)) if not any((base / path).exists() for base in bases)] == []
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    assert [link for link in links if not (document.parent / link).exists()] == []


def anchors(document: Path) -> set[str]:
    """Return the names by which a forge links to the headings of a page."""
    prose = re.sub(r"^```.*?^```", "", document.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    headings = [heading.strip().lower() for heading in re.findall(r"^#+ (.+)$", prose, re.MULTILINE)]
    return {re.sub(r"[^\w -]", "", heading).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("document", DOCS, ids=lambda file: str(file.relative_to(paths.ROOT)))
def test_every_link_to_a_heading_leads_to_one(document):
    for page, anchor in re.findall(r"\]\((?!https?:)([^)#]*)#([^)]+)\)", document.read_text(encoding="utf-8")):
        assert anchor in anchors(document.parent / page if page else document), f"{page}#{anchor}"


def test_the_list_of_pages_has_each_of_them():
    pages = {file.name for file in (paths.ROOT / "docs").glob("*.md")} - {"README.md"}
    listed = re.findall(r"\]\((\S+?\.md)\) \|$", (paths.ROOT / "docs" / "README.md").read_text(), re.MULTILINE)
    assert sorted(listed) == sorted(pages)
    assert "(docs/README.md)" in (paths.ROOT / "README.md").read_text()


@pytest.mark.parametrize("document", DOCS, ids=lambda file: str(file.relative_to(paths.ROOT)))
def test_every_name_that_a_snippet_imports_is_there(document):
    for snippet in re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for node in ast.walk(compile(snippet, document.name, "exec", flags)):
            if isinstance(node, ast.ImportFrom):
                for alias in node.names:
                    module = importlib.import_module(node.module)
                    assert hasattr(module, alias.name) or find_spec(f"{node.module}.{alias.name}"), alias.name


@pytest.mark.parametrize("page", ["python.md", "formats.md"])
def test_the_python_of_a_page_runs_as_it_stands(page, monkeypatch, tmp_path):
    (tmp_path / "results").symlink_to(paths.RESULTS)  # what a block writes stays out of the repository
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(gptoss_bench, "bench", partial(gptoss_bench.bench, results=tmp_path / "own"))
    text = (paths.ROOT / "docs" / page).read_text(encoding="utf-8")
    names: dict[str, object] = {}
    for block in re.findall(r"^```python\n(.*?)^```", text, re.DOTALL | re.MULTILINE):
        exec(block, names)
    assert str(names["run"]).startswith("Run 2026")
    assert [file.suffix for file in tmp_path.glob("*.*")] == ([".svg"] if page == "python.md" else [])


def test_the_example_plots_two_runs(tmp_path):
    runs = [run for run in published.folders() if run.name.split("-")[1] == "vllm"][:2]
    script, picture = paths.ROOT / "docs" / "examples" / "plot_two_runs.py", tmp_path / "two.svg"
    done = subprocess.run([sys.executable, script, *runs, picture], capture_output=True, text=True, check=True)
    assert [line.partition(": TTFT p50 ")[0] for line in done.stdout.splitlines()] == [
        " ".join([*Run.load(run).manifest.labels, run.name]) for run in runs
    ]
    assert picture.read_text().count("<path") > 10


def test_the_example_of_the_client_alone_measures_the_first_token_or_says_what_failed():
    script = paths.ROOT / "docs" / "examples" / "client_alone.py"
    server_command = [sys.executable, "-m", "gptoss_bench", "reference-server", "--ttft-s", "0.2", "--tokens", "6"]
    with subprocess.Popen(
        server_command, stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent)}
    ) as server:
        assert server.stdout is not None
        url = server.stdout.readline().strip()
        shown = subprocess.run([sys.executable, script, url, "reference"], capture_output=True, text=True, check=True)
        server.terminate()
    lines = [re.fullmatch(r"request (\d): TTFT (\d+\.\d{3}) s, 6 tokens", line) for line in shown.stdout.splitlines()]
    assert [line and line[1] for line in lines] == ["0", "1", "2", "3"]
    assert all(line and float(line[2]) >= 0.2 for line in lines)
    failed = subprocess.run([sys.executable, script, url, "reference"], capture_output=True, text=True, check=True)
    assert failed.stdout.count(": connect, status None, ") == 4


def test_the_commands_on_results_of_other_tools_run_and_show_the_times_that_the_page_states(tmp_path):
    text = (paths.ROOT / "docs" / "coming-from.md").read_text(encoding="utf-8")
    commands = re.findall(r"^gptoss-bench (.* tests/imported/.*)$", text, re.MULTILINE)
    assert {command.split()[0] for command in commands} == {"lint", "compare", "draw", "audit"}
    (tmp_path / "tests").symlink_to(paths.ROOT / "tests")
    environment = os.environ | {"PYTHONPATH": str(paths.ROOT / "lib")}
    printed = ""
    for command in commands:
        line = [sys.executable, "-m", "gptoss_bench", *command.split()]
        done = subprocess.run(line, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
        assert done.returncode in (0, 3), done.stderr  # 3: lint found the error that it should
        printed += done.stdout
    [times] = re.findall(r"^TTFT, s +([0-9.]+) +([0-9.]+) ", printed, re.MULTILINE)
    early, text_of_first = (f"{float(time) * 1000:.0f} ms" for time in times)
    assert f"TTFT of {early}, the other one of {text_of_first}" in text
    assert (tmp_path / "beside.svg").stat().st_size > 0


def test_the_architecture_describes_every_package():
    text = (paths.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {file.parent.name for file in paths.PACKAGE.glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| \d+ \| `(\w+)/` \|", text, re.MULTILINE))
