"""Open the notebooks in JupyterLab as working copies, and keep the executed copy of a run that was made by hand.

The copies are in build/lab, which git ignores, so that running them changes no file of the repository.
"""

import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

import nbformat

from gptoss_bench import paths
from gptoss_bench.files import writing
from gptoss_bench.notebook.runner import hide_key_in, put_findings_on_top
from gptoss_bench.runs import readable_runs
from gptoss_client import JsonValue

JUPYTER = ".jupyter"  # a folder of configuration
COPIES = ".copies.json"  # by notebook: the hash of what was copied
KEPT = "gptoss_bench_kept"  # in the metadata of a copy in a run folder
START = "explore.ipynb"
CONFIG = """\
import warnings

from gptoss_bench.notebook import keep_executed_copy

# Jupyter's server sets the hook twice, and warns about the second time.
warnings.filterwarnings("ignore", message="Overriding existing post_save_hook")
c.FileContentsManager.post_save_hook = keep_executed_copy
c.LabApp.news_url = None
c.LabApp.check_for_updates_class = "jupyterlab.NeverCheckForUpdate"
"""
# Defaults of JupyterLab's frontend, which the user may change there; without them it asks about news.
LAB_DEFAULTS = {"@jupyterlab/apputils-extension:notification": {"fetchNews": "false", "checkForUpdates": False}}


def prepare_lab(folder: Path) -> list[str]:
    """Copy the notebooks into `folder` and return the names of those that stay because their cells were changed there.

    A copy whose cells are as they were copied is replaced if the notebook of the repository is another one by now.
    """
    kept = []
    with writing(folder, "name another folder with --folder"):
        folder.mkdir(parents=True, exist_ok=True)
        (folder / ".gitignore").write_text("*\n", encoding="utf-8")
        (folder / ".jupyter_server_config.py").write_text(CONFIG, encoding="utf-8")
        defaults = folder / JUPYTER / "labconfig" / "default_setting_overrides.json"
        defaults.parent.mkdir(parents=True, exist_ok=True)
        defaults.write_text(json.dumps(LAB_DEFAULTS, indent=1), encoding="utf-8")
        copied = _copied(folder)
        for source in sorted(paths.NOTEBOOKS.glob("*.ipynb")):
            copy, current = folder / source.name, _cells_hash(source)
            if copy.exists() and _cells_hash(copy) != copied.get(source.name):
                kept.append(source.name)
            elif not copy.exists() or copied.get(source.name) != current:
                copy.write_bytes(source.read_bytes())
                copied[source.name] = current
        (folder / COPIES).write_text(json.dumps(copied, indent=1), encoding="utf-8")
    return kept


def lab_command(folder: Path, options: Sequence[str]) -> list[str]:
    """Return the command that opens JupyterLab at the copies in `folder`, with more options of JupyterLab."""
    root = paths.ROOT if folder.is_relative_to(paths.ROOT) else folder
    command = [sys.executable, "-m", "jupyterlab", f"--config={folder / '.jupyter_server_config.py'}"]
    command += [f"--notebook-dir={root}", f"--LabApp.default_url=/lab/tree/{(folder / START).relative_to(root)}"]
    is_root = hasattr(os, "geteuid") and os.geteuid() == 0  # JupyterLab then refuses to start
    return [*command, *(["--allow-root"] if is_root else []), *options]


def lab_environment(folder: Path) -> dict[str, str]:
    """Return the environment of JupyterLab: that of this process, with the configuration in `folder`."""
    found = [str(folder / JUPYTER), *filter(None, [os.environ.get("JUPYTER_CONFIG_PATH")])]
    return os.environ | {"JUPYTER_CONFIG_PATH": os.pathsep.join(found)}


def keep_executed_copy(model: Mapping[str, JsonValue], os_path: str, **_more: object) -> None:
    """Copy a saved notebook into the folder of the newest complete run of its scenario; a hook of Jupyter's server.

    A run that papermill executed has its notebook already, and loads of explore.ipynb have none.
    """
    if model.get("type") != "notebook":
        return
    scenario = Path(os_path).stem.replace("_", "-")
    with contextlib.suppress(Exception):  # the notebook itself is saved in any case
        newest = [run for run in readable_runs(paths.RESULTS, f"*-{scenario}-*") if run.scenario == scenario][-1:]
        for run in newest:
            target = run.path / "notebook.ipynb"
            if run.manifest.status != "complete" or scenario == "explore" or not _may_replace(target):
                continue
            book = nbformat.read(os_path, as_version=4)
            book.metadata.pop("widgets", None)
            book.metadata[KEPT] = run.run_id
            nbformat.write(book, target)
            hide_key_in(target)
            put_findings_on_top(target)


def _may_replace(target: Path) -> bool:
    return not target.exists() or KEPT in nbformat.read(target, as_version=4).metadata


def _copied(folder: Path) -> dict[str, str]:
    try:
        found = json.loads((folder / COPIES).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return {str(name): str(value) for name, value in found.items()} if isinstance(found, dict) else {}


def _cells_hash(path: Path) -> str:
    """Return a hash of kinds and sources of the cells, "" for a file that is no notebook."""
    try:
        cells = nbformat.read(path, as_version=4).cells
    except Exception:  # nbformat raises errors of many kinds
        return ""
    return hashlib.sha256(json.dumps([(cell.cell_type, cell.source) for cell in cells]).encode()).hexdigest()
