"""Paths that README and docs name exist, and their Python snippets import."""

import ast
import importlib
import re

import pytest

from gptoss_bench import paths

DOCS = [paths.ROOT / "README.md", paths.RESULTS / "README.md", *sorted((paths.ROOT / "docs").glob("*.md"))]
BASES = (paths.ROOT, paths.ROOT / "lib", paths.PACKAGE)
# A folder ends with a slash, a file with an ending; capitals are placeholders, and build/ is created by make.
PATH = re.compile(r"(?!build/)[\w.-]+(?:/[\w.-]+)*(?:/|\.(?:py|pyi|md|yaml|toml|ipynb|csv|json|txt|lock))")
PLACEHOLDER = re.compile(r"\b(?:NAME|RUN|FILE)\b")
# Files of a run, a model or a bench folder.
FILE_NAMES = {"manifest.json", "summary.json", "lint.json", "notebook.ipynb", "config.json", "rows.csv", "tables.md"}


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


@pytest.mark.parametrize("document", DOCS, ids=lambda file: str(file.relative_to(paths.ROOT)))
def test_every_name_that_a_snippet_imports_is_there(document):
    for snippet in re.findall(r"^```python\n(.*?)^```", document.read_text(encoding="utf-8"), re.DOTALL | re.MULTILINE):
        flags = ast.PyCF_ONLY_AST | ast.PyCF_ALLOW_TOP_LEVEL_AWAIT
        for node in ast.walk(compile(snippet, document.name, "exec", flags)):
            if isinstance(node, ast.ImportFrom):
                assert all(hasattr(importlib.import_module(node.module), alias.name) for alias in node.names)


def test_the_architecture_describes_every_package():
    text = (paths.ROOT / "docs" / "architecture.md").read_text(encoding="utf-8")
    packages = {file.parent.name for file in paths.PACKAGE.glob("*/__init__.py")}
    assert packages == set(re.findall(r"^\| \d+ \| `(\w+)/` \|", text, re.MULTILINE))
