"""Read the profile of a machine and check its notebook parameters before anything runs."""

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
    """Return name and default of each parameter that a notebook declares in its tagged cell."""
    logging.getLogger("papermill").setLevel(logging.CRITICAL)  # it raises the same errors
    declared = papermill.inspect_notebook(str(notebook_path(notebook)))
    return {name: ast.literal_eval(entry["default"]) for name, entry in declared.items()}


def notebook_path(notebook: str) -> Path:
    """Return the path of a notebook by its name. Raises UsageError if there is none of that name."""
    path = paths.NOTEBOOKS / f"{Path(notebook).stem}.ipynb"
    if not path.exists():
        known = sorted(file.stem for file in paths.NOTEBOOKS.glob("*.ipynb"))
        if not known:
            raise UsageError(f"there are no notebooks in {paths.NOTEBOOKS}: run this command in a checkout of the kit")
        raise UsageError(f"there is no notebook {notebook!r}{_nearest(notebook, known)}; there are {', '.join(known)}")
    return path


def read_profile(path: Path) -> Parameters:
    """Read the parameters of a YAML profile. Raises UsageError if it is missing or not a mapping."""
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
    """Raise UsageError for the first parameter that no notebook declares, or that has a value of another type."""
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
                f"not {value!r} ({type(value).__name__})"
            )


def _nearest(name: str, known: Iterable[str]) -> str:
    close = difflib.get_close_matches(name, list(known), n=1, cutoff=0.5)
    return f", did you mean {close[0]!r}?" if close else ""
