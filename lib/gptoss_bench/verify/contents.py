"""Check what a run folder contains: files of a run and no others, no links, no active content, no markup in names."""

import json
import re
import stat
from collections.abc import Iterator, Sequence
from pathlib import Path

from gptoss_bench.files import read_json
from gptoss_bench.runs import CRATE_FILE, Run, crate_document, shard_folder
from gptoss_bench.verify.check import Check
from gptoss_client import JsonValue, UsageError, one_line

DOCUMENTS = ("manifest.json", "summary.json", "lint.json")
TABLES = ("raw", "requests", "events", "stalls", "heartbeats", "gpu", "host", "server")
NOTEBOOK = "notebook.ipynb"
KNOWN_FILES = {*DOCUMENTS, *(f"{name}.parquet" for name in TABLES), NOTEBOOK, CRATE_FILE}
MAX_FILE_BYTES = 100 * 2**20
# What can act in a page, or fetch something from elsewhere.
ACTIVE = re.compile(
    r"<\s*(script|iframe|object|embed|link|base|form|meta|foreignObject)\b|javascript:|\bon[a-z]+\s*=\s*[\"'\\]"
    r"|\b(src|href|action|xlink:href)\s*=\s*\\?[\"']?\s*(https?:|//)|url\(\s*[\"']?\s*(https?:|//)|@import",
    re.IGNORECASE,
)
OUTPUT_TYPES = re.compile(r"text/(plain|html|markdown)|image/(png|jpeg|svg\+xml)|application/vnd\.jupyter\.widget-.*")
FREE_TEXTS = {"prompt", "system", "command"}
MARKUP = re.compile("[<>\x00-\x1f\x7f-\x9f\u200e\u200f\u202a-\u202e\u2066-\u2069]")


def check_files(folder: Path) -> Check:
    """Return whether a folder has the files of a run alone: regular ones with known names, of at most 100 MiB each.

    A load of several workers has the run folder of each of them below `shards`.
    """
    if not _is_folder(folder):
        return Check("files", "the folder", (f"{one_line(folder.name)} is no folder, or a link",))
    found, shards = sorted(folder.iterdir()), shard_folder(folder, 0).parent
    parts = sorted(shards.iterdir()) if _is_folder(shards) else []
    if not parts and not any(file.name == "raw.parquet" for file in found):
        reason = "it has no raw.parquet: only a measured load, with the bytes of its responses, can be verified"
        return Check("files", f"{len(found)} files", (reason,))
    if parts:
        found.remove(shards)
    refused, files = list(_wrong_files(folder, found)), len(found)
    for part in parts:
        at = f"{shards.name}/{one_line(part.name, 20)}"
        if not _is_folder(part) or not re.fullmatch("[0-9]{1,4}", part.name):
            refused.append(f"{at} is no folder of a worker")
            continue
        own = sorted(part.iterdir())
        files += len(own)
        refused += [f"{at}: {reason}" for reason in _wrong_files(part, own)]
    return Check("files", f"{files} files", tuple(refused))


def _is_folder(path: Path) -> bool:
    return path.is_dir() and not path.is_symlink()


def _wrong_files(folder: Path, found: Sequence[Path]) -> Iterator[str]:
    """Yield what is wrong with the files of one folder."""
    for file in found:
        name, status = one_line(file.name, 60), file.lstat()
        if not stat.S_ISREG(status.st_mode):
            yield f"{name} is no regular file: a run has neither links nor folders in it"
        elif file.name not in KNOWN_FILES:
            yield f"{name} is no file of a run: remove it"
        elif status.st_size > MAX_FILE_BYTES:
            yield f"{name} has {status.st_size} bytes, more than {MAX_FILE_BYTES}"
        elif status.st_nlink > 1:
            yield f"{name} has a second name elsewhere (a hard link)"
    yield from (f"{name} is missing" for name in DOCUMENTS if not (folder / name).exists())


def check_crate(run: Run) -> Check:
    """Return whether the RO-Crate metadata of a folder, where there are any, describe the files in it."""
    if not (run.path / CRATE_FILE).exists():
        return Check("RO-Crate", "there is none")
    kept = read_json(run.path / CRATE_FILE)
    same = kept == crate_document(run)
    return Check("RO-Crate", "SHA-256 of every file", () if same else (f"{CRATE_FILE} describes other files",))


def check_names(folder: Path) -> Check:
    """Return whether no name in the documents has markup, control characters or a change of the writing direction.

    Prompts and commands may have them. lint.json is derived again, so it has no text of a stranger.
    """
    refused = []
    for place in (folder, *sorted(shard_folder(folder, 0).parent.glob("*"))):
        for name in ("manifest.json", "summary.json"):
            for path, text in _texts(json.loads((place / name).read_bytes())):  # as it is: `read_json` escapes
                if found := MARKUP.search(text):
                    at = (place / name).relative_to(folder)
                    refused.append(f"{at}: {one_line(path, 60)} has the character {found[0]!a}")
    return Check("names", "texts of the documents", tuple(refused[:10]))


def _texts(value: JsonValue, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each text of a JSON value with its dotted path; names too."""
    if isinstance(value, str):
        if path.rpartition(".")[2] not in FREE_TEXTS:
            yield path, value
    elif isinstance(value, dict):
        for name, one in value.items():
            yield f"name {name}", name
            yield from _texts(one, f"{path}.{name}".lstrip("."))
    elif isinstance(value, list):
        for at, one in enumerate(value):
            yield from _texts(one, f"{path}.{at}")


def check_notebook(folder: Path) -> Check:
    """Return whether the executed notebook holds nothing that acts when it is shown."""
    if not (folder / NOTEBOOK).exists():
        return Check("notebook", "there is none")
    try:
        content = read_json(folder / NOTEBOOK)
    except UsageError as error:
        return Check("notebook", NOTEBOOK, (str(error),))
    cells = content.get("cells") if isinstance(content, dict) else None
    if not isinstance(cells, list):
        return Check("notebook", NOTEBOOK, (f"{NOTEBOOK} is no notebook",))
    refused = []
    for number, cell in enumerate(cells, 1):
        if not isinstance(cell, dict):
            refused.append(f"cell {number} is no cell")
            continue
        if cell.get("cell_type") == "markdown" and (found := ACTIVE.search(_text(cell.get("source")))):
            refused.append(f"cell {number}: its text has {one_line(found[0], 40)}")
        if cell.get("attachments"):
            refused.append(f"cell {number} has attachments")
        outputs = cell.get("outputs")
        for output in outputs if isinstance(outputs, list) else []:
            data = output.get("data") if isinstance(output, dict) else None
            for kind, shown in data.items() if isinstance(data, dict) else ():
                if not OUTPUT_TYPES.fullmatch(kind):
                    refused.append(f"cell {number}: an output of type {one_line(kind, 40)} is not shown")
                elif kind.endswith(("html", "xml", "markdown")) and (found := ACTIVE.search(_text(shown))):
                    refused.append(f"cell {number}: its {kind} has {one_line(found[0], 40)}")
    unchecked = "its figures are pictures: whether they show this run is not checked"
    return Check("notebook", f"{len(cells)} cells, nothing that acts in them", tuple(refused[:10]), (unchecked,))


def _text(source: JsonValue) -> str:
    return "".join(map(str, source)) if isinstance(source, list) else str(source or "")
