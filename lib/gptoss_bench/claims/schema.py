"""Read and validate a claims file: YAML in, a `WriteUp` out, or a line for each mistake that names claim and field."""

from collections import Counter
from functools import lru_cache, reduce
from operator import or_
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, TypeAdapter, ValidationError, create_model

from gptoss_bench import paths
from gptoss_bench.claims.arithmetic_deciders import wrong_inputs
from gptoss_bench.claims.deciders import DECIDERS
from gptoss_bench.claims.model import Claim, Decider, WriteUp
from gptoss_bench.files import write_json
from gptoss_bench.validation import Mistake, find_mistakes, shown_name
from gptoss_client import UsageError


class _DocumentedClaim(Claim, use_attribute_docstrings=False):
    """A claim whose fields have their descriptions: a model that is made has no source to read them from."""


class _DocumentedWriteUp(WriteUp, use_attribute_docstrings=False):
    """A claims file whose fields have their descriptions."""


def _claim_model(name: str, decider: type[Decider]) -> type[Claim]:
    """Return the model of a claim with this decider; `with` can be left out where no argument is required."""
    needs_arguments = any(field.is_required() for field in decider.model_fields.values())
    arguments = Field(alias="with") if needs_arguments else Field(alias="with", default_factory=decider)
    fields: dict[str, Any] = {"decider": (Literal[name], ...), "arguments": (decider, arguments)}
    doc = f"A claim with the decider {name}."
    return create_model(f"Claim_{name}", __base__=_DocumentedClaim, __doc__=doc, **fields)


def _file_model() -> type[WriteUp]:
    """Return the model of a claims file, whose claims have different arguments by their decider."""
    claim: Any = reduce(or_, (_claim_model(name, decider) for name, decider in DECIDERS.items()))
    claims: Any = list[Annotated[claim, Field(discriminator="decider")]]
    fields: dict[str, Any] = {"claims": (Annotated[claims, Field(min_length=1)], ...)}
    return create_model("WriteUp", __base__=_DocumentedWriteUp, __doc__=WriteUp.__doc__, **fields)


_FILE = TypeAdapter(_file_model())


def load_write_up(path: Path = paths.CLAIMS) -> WriteUp:
    """Read and validate a claims file.

    Raises UsageError with one line for each mistake, which names file, claim, field and value.
    """
    try:
        content = _yaml_content(path.read_text(encoding="utf-8"))
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark
        where = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
        raise UsageError(f"{path.name}{where}: {error.problem or error.context}; correct the YAML there") from error
    except (OSError, ValueError, RecursionError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path.name}: {' '.join(str(error).split())}") from error
    return parse_write_up(content, path.name)


@lru_cache(maxsize=4)
def _yaml_content(text: str) -> object:
    """Return what YAML says; a site reads the same claims file for each of its pages."""
    return yaml.safe_load(text)


def parse_write_up(content: object, name: str = "claims.yaml") -> WriteUp:
    """Validate a claims file that was read as YAML. Raises UsageError as `load_write_up` does."""
    try:
        found = _FILE.validate_python(content)
    except ValidationError as error:
        mistakes = find_mistakes(error, _FILE)
        raise UsageError("\n".join(f"{name}: {_located(mistake, content)}" for mistake in mistakes)) from error
    ids = [*(claim.claim_id for claim in found.claims), *(one.derived_id for one in found.derived)]
    lines = [
        f"claim {claim_id}: id is used {count} times; give each claim its own"
        for claim_id, count in Counter(ids).items()
        if count > 1
    ]
    for claim in found.claims:
        wrong = claim.arguments.mistakes(found)
        lines += [f"claim {claim.claim_id}: {Mistake(('with', *one.path), one.text).sentence()}" for one in wrong]
    for derived in found.derived:
        wrong = wrong_inputs(derived.inputs, found)
        lines += [f"derived {derived.derived_id}: {Mistake(one.path, one.text).sentence()}" for one in wrong]
    if lines:
        raise UsageError("\n".join(f"{name}: {line}" for line in lines))
    return found


def _located(mistake: Mistake, content: object) -> str:
    """Return a mistake with the claim it is in: by its id, or by its number where it has none."""
    if len(mistake.path) < 2 or mistake.path[0] != "claims" or not isinstance(content, dict):
        return mistake.sentence()
    at = mistake.path[1]
    entry = content["claims"][at]
    claim_id = entry.get("id") if isinstance(entry, dict) else None
    name = shown_name(claim_id) if claim_id and isinstance(claim_id, str) else f"number {int(at) + 1}"
    return f"claim {name}: {mistake.sentence(start=2)}"


def write_claims_schema(target: Path) -> None:
    """Write the JSON Schema of a claims file."""
    write_json(target, _FILE.json_schema())
