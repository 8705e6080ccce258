"""Read the profile of a machine and check its notebook parameters before anything runs."""

import ast
import json
from collections.abc import Iterable, Mapping
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin, get_type_hints

import yaml
from pydantic import ConfigDict, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from gptoss_bench import paths
from gptoss_bench.engines import ServerChoice
from gptoss_bench.validation import Wanted, choices_text, find_mistakes, shown_value
from gptoss_client import JsonValue, LoadPlan, UsageError

Parameters = Mapping[str, JsonValue]


def notebook_parameters(notebook: str) -> dict[str, JsonValue]:
    """Return name and default of each parameter that a notebook declares in its tagged cell."""
    cells = json.loads(notebook_path(notebook).read_bytes())["cells"]
    tagged = next((cell for cell in cells if "parameters" in cell["metadata"].get("tags", [])), {"source": ""})
    lines = ast.parse("".join(tagged["source"])).body
    return {
        line.targets[0].id: ast.literal_eval(line.value)
        for line in lines
        if isinstance(line, ast.Assign) and isinstance(line.targets[0], ast.Name)
    }


def notebook_path(notebook: str) -> Path:
    """Return the path of a notebook by its name. Raises UsageError if there is none of that name."""
    path = paths.NOTEBOOKS / f"{Path(notebook).stem}.ipynb"
    if not path.exists():
        known = sorted(file.stem for file in paths.NOTEBOOKS.glob("*.ipynb"))
        if not known:
            raise UsageError(f"there are no notebooks in {paths.NOTEBOOKS}: run this command in a checkout of the kit")
        raise UsageError(f"there is no notebook {notebook!r}; {choices_text(notebook, known)}")
    return path


def profile_path(profile: Path) -> Path:
    """Return the file of a profile that is named by its path, or by its name in notebooks/profiles: `local`."""
    named = paths.PROFILES / f"{profile.name}.yaml"
    return named if profile.name == str(profile) and not profile.exists() and named.exists() else profile


def read_profile(path: Path) -> dict[str, JsonValue]:
    """Read the parameters of a YAML profile. Raises UsageError if it is missing or not a mapping of names."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        known = choices_text(path.stem, sorted(file.stem for file in paths.PROFILES.glob("*.yaml")))
        raise UsageError(f"cannot read the profile {path}: {error.strerror}; {known}") from error
    except (yaml.YAMLError, ValueError, RecursionError) as error:  # ValueError: such as a date that does not exist
        raise UsageError(f"{path.name} is not YAML: {' '.join(str(error).split())}") from error
    if content is None:
        return {}
    if not isinstance(content, dict):
        raise UsageError(f"{path.name} must be a list of `parameter: value` lines, not a {type(content).__name__}")
    for name in content:
        if not isinstance(name, str):
            raise UsageError(f"{path.name}: the parameter {shown_value(name)} is not a name: correct it")
    return content


def check_parameters(given: Parameters, declared: Iterable[Parameters], source: str) -> dict[str, JsonValue]:
    """Check the parameters of a profile against their definitions and return them.

    Launch options are defined by `ServerChoice`, fields of the load by `LoadPlan`, all others by their defaults.

    Args:
        given: the parameters of a profile.
        declared: the defaults of each notebook's parameters.
        source: where they were given, such as the name of the profile.

    Raises:
        UsageError: A parameter is declared by no notebook or has a value of another type; the message is one line
            with source, name, value and, for a misspelt word, the nearest right one.
    """
    types = {name: _definition(name, default) for parameters in declared for name, default in parameters.items()}
    schema = TypedDict("schema", types, total=False)  # type: ignore[misc] # its keys are known at run time
    strict = ConfigDict(extra="forbid", strict=True, allow_inf_nan=False)
    model: TypeAdapter[Any] = TypeAdapter(with_config(strict)(schema))
    try:
        checked: dict[str, Any] = model.validate_python(dict(given))
        LoadPlan(**{field.name: checked[field.name] for field in fields(LoadPlan) if field.name in checked})
    except ValidationError as error:
        first = error.errors()[0]
        bare = isinstance(first["input"], bool) and first["type"] in ("literal_error", "string_type")
        hint = "; put it in quotation marks: YAML reads a bare on, off, yes or no as true or false" if bare else ""
        raise UsageError(f"{source}: {find_mistakes(error, model)[0].sentence()}{hint}") from None
    except UsageError as error:
        raise UsageError(f"{source}: {error}") from None
    return checked


def _definition(name: str, default: object) -> Any:
    """Return the type of a parameter with its constraints."""
    if field := ServerChoice.model_fields.get(name):
        return Annotated[(field.annotation, *field.metadata)] if field.metadata else field.annotation
    if wanted := get_type_hints(LoadPlan, include_extras=True).get(name):
        return list[get_args(wanted)[0]] if get_origin(wanted) is tuple else wanted  # type: ignore[misc] # YAML has lists
    if name == "workers":
        return Annotated[int | Literal["auto"], Wanted("a whole number, or auto")]
    return _type_of(default)


def _type_of(default: object) -> Any:
    """Return the type of a value as YAML may write it; inside of a list any number is right where one is."""
    if isinstance(default, list):
        first = default[0] if default else ""
        number = isinstance(first, int | float) and not isinstance(first, bool)
        return list[Annotated[int | float, Wanted("a number")] if number else _type_of(first)]  # type: ignore[misc]
    return type(default)
