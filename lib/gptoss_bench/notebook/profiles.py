"""A profile: the parameters that a machine gives the notebooks, checked before anything runs."""

import ast
import difflib
import logging
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import papermill
import yaml

from gptoss_bench import paths
from gptoss_client import UsageError

Parameters = dict[str, Any]


def notebook_parameters(notebook: str) -> Parameters:
    """Name and default of each parameter that a notebook declares in its tagged cell."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # what it would log is raised as well
    found = papermill.inspect_notebook(str(notebook_path(notebook)))
    return {name: ast.literal_eval(entry["default"]) for name, entry in found.items()}


def notebook_path(notebook: str) -> Path:
    """The source of a notebook, by its bare name. Raises UsageError where there is none of that name."""
    path = paths.NOTEBOOKS / f"{Path(notebook).stem}.ipynb"
    if not path.exists():
        known = sorted(file.stem for file in paths.NOTEBOOKS.glob("*.ipynb"))
        raise UsageError(f"there is no notebook {notebook!r}{_nearest(notebook, known)}; there are {', '.join(known)}")
    return path


def read_profile(path: Path) -> Parameters:
    """The mapping that a YAML profile holds. Raises UsageError where it is missing or no mapping."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = ", ".join(sorted(file.name for file in paths.PROFILES.glob("*.yaml")))
        raise UsageError(f"cannot read the profile {path}: {error.strerror}; notebooks/profiles has {known}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UsageError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path.name} must be a list of `parameter: value` lines, not a {type(content).__name__}")
    return content


def check_parameters(given: Mapping[str, Any], declared: Iterable[Parameters], source: str) -> None:
    """Raise UsageError naming the first key that no notebook declares, or whose value has another type."""
    known: Parameters = {}
    for parameters in declared:
        known |= parameters
    for name, value in given.items():
        if name not in known:
            raise UsageError(f"{source}: no notebook has a parameter {name!r}{_nearest(str(name), known)}")
        default = known[name]
        wanted = (int, float) if isinstance(default, float) else (type(default),)
        if not isinstance(value, wanted) or isinstance(value, bool) != isinstance(default, bool):
            raise UsageError(
                f"{source}: {name} must be of type {type(default).__name__}, as in {name}: {default!r}, "
                f"and not {value!r} ({type(value).__name__})"
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
