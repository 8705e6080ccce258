"""Read and validate a claims file: YAML in, `Claim`s out, or a one-line error that names the claim and the key."""

import inspect
import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import fields
from difflib import get_close_matches
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, get_args, get_origin

import yaml

from gptoss_bench import paths
from gptoss_bench.claims.deciders import DECIDERS
from gptoss_bench.claims.model import NEEDS, Claim, Published, Tolerance
from gptoss_bench.stats import CONSISTENCY_CHECKS
from gptoss_client import UsageError

KINDS = ("figure", "statement", "opinion")
REQUIRED = ("id", "kind", "section", "says", "needs", "tested_by", "decider")
OPTIONAL = ("published", "condition", "tolerance", "with")
# Arguments that are records: the required keys of each with their types, and the optional keys.
RECORDS: dict[str, tuple[dict[str, Any], tuple[str, ...]]] = {
    "entries": ({"version": str, "holds": bool, "found": str}, ("date",)),
    "record": ({"version": str, "value": Any, "found": str}, ()),
}
TYPE_NAMES = {str: "a text", int: "a whole number", float: "a number", bool: "true or false", Mapping: "name: value"}


def load_claims(path: Path = paths.CLAIMS) -> list[Claim]:
    """Read and validate a claims file. Raises UsageError with one line that names the claim and the key."""
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError, yaml.YAMLError) as error:
        raise UsageError(f"cannot read {path.name}: {' '.join(str(error).split())}") from error
    return parse_claims(content, path.name)


def parse_claims(content: Any, name: str = "claims.yaml") -> list[Claim]:
    """Validate the claims of a file that was read as YAML. Raises UsageError as `load_claims` does."""
    entries = content.get("claims") if isinstance(content, Mapping) else None
    if not isinstance(entries, list) or not entries:
        raise UsageError(f"{name}: no list named claims; add one with an entry for each claim")
    claims = [_claim(entry, f"{name}: claim {_name_of(entry, at)}") for at, entry in enumerate(entries, 1)]
    twice = [claim_id for claim_id, n in Counter(claim.claim_id for claim in claims).items() if n > 1]
    if twice:
        raise UsageError(f"{name}: claim {twice[0]}: key 'id' is used twice; give each claim its own")
    by_id = {claim.claim_id: claim for claim in claims}
    for claim in claims:
        _check_arguments(claim, by_id, f"{name}: claim {claim.claim_id}")
    return claims


def _name_of(entry: Any, at: int) -> str:
    return str(entry["id"]) if isinstance(entry, Mapping) and "id" in entry else f"number {at}"


def _claim(entry: Any, where: str) -> Claim:
    _check_keys(entry, REQUIRED, OPTIONAL, where)
    for key in (*REQUIRED, "condition"):
        _check_type(entry.get(key, ""), str, f"{where}: key {key!r}")
    if not re.fullmatch(r"C\d\d-[a-z0-9-]+", entry["id"]):
        raise UsageError(f"{where}: key 'id' is {entry['id']!r}; write it like C07-short-name")
    for key, allowed in (("kind", KINDS), ("needs", tuple(NEEDS)), ("decider", tuple(DECIDERS))):
        _check_word(entry[key], allowed, f"{where}: key {key!r}")
    published = _numbers(
        Published, entry.get("published"), f"{where}: key 'published'", texts=("word", "unit", "version")
    )
    if entry.get("published") and not published.text:
        raise UsageError(f"{where}: key 'published' needs one of value, low and high, below, at_least, word")
    arguments = entry.get("with", {})
    if not isinstance(arguments, Mapping):
        raise UsageError(f"{where}: key 'with' is {arguments!r}; write the decider's arguments, name: value")
    return Claim(
        claim_id=entry["id"],
        says=entry["says"],
        section=entry["section"],
        kind=entry["kind"],
        needs=entry["needs"],
        tested_by=entry["tested_by"],
        decider=entry["decider"],
        arguments=arguments,
        published=published,
        tolerance=_numbers(Tolerance, entry.get("tolerance"), f"{where}: key 'tolerance'"),
        condition=entry.get("condition", ""),
    )


def _numbers(record: type[Any], entry: Any, where: str, texts: Sequence[str] = ()) -> Any:
    """Return a dataclass of numbers, and of the named texts, from a mapping."""
    if entry is None:
        return record()
    _check_keys(entry, (), [field.name for field in fields(record)], where)
    for key, value in entry.items():
        _check_type(value, str if key in texts else float, f"{where}, {key!r}")
    return record(**entry)


def _check_arguments(claim: Claim, claims: Mapping[str, Claim], where: str) -> None:
    signature = [p for p in inspect.signature(DECIDERS[claim.decider]).parameters.values() if p.kind is p.KEYWORD_ONLY]
    needed = [parameter.name for parameter in signature if parameter.default is parameter.empty]
    _check_keys(claim.arguments, needed, [parameter.name for parameter in signature], f"{where}: key 'with'")
    for parameter in signature:
        if parameter.name in claim.arguments:
            at = f"{where}: key 'with', {parameter.name!r}"
            _check_type(claim.arguments[parameter.name], parameter.annotation, at)
    for name, (must, may) in RECORDS.items():
        given = claim.arguments.get(name, [])
        for record in given if isinstance(given, list) else [given]:
            _check_keys(record, tuple(must), may, f"{where}: key {name!r}")
            for key, kind in must.items():
                _check_type(record[key], kind, f"{where}: key {name!r}, {key!r}")
    if "check" in claim.arguments:
        _check_word(claim.arguments["check"], tuple(CONSISTENCY_CHECKS), f"{where}: key 'check'")
        inputs = claim.arguments["inputs"]
        wanted = set(inspect.signature(CONSISTENCY_CHECKS[claim.arguments["check"]]).parameters) - {"tolerance"}
        _check_keys(inputs, sorted(wanted), (), f"{where}: key 'inputs'")
        for name, claim_id in inputs.items():
            _check_word(claim_id, tuple(claims), f"{where}: key 'inputs', {name!r}")
            _ = claims[claim_id].printed


def _check_keys(entry: Any, required: Sequence[str], optional: Sequence[str], where: str) -> None:
    if not isinstance(entry, Mapping):
        raise UsageError(f"{where} is {entry!r}; it has to be a mapping, name: value")
    for key in entry:
        if key not in (*required, *optional):
            near = get_close_matches(str(key), (*required, *optional), n=1, cutoff=0.5)
            hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join((*required, *optional))}"
            raise UsageError(f"{where}: key {key!r} is unknown; {hint}")
    if missing := [key for key in required if key not in entry]:
        raise UsageError(f"{where}: key {missing[0]!r} is missing; add it")


def _check_word(value: Any, allowed: Sequence[str], where: str) -> None:
    if value not in allowed:
        near = get_close_matches(str(value), allowed, n=1, cutoff=0.5)
        hint = f"did you mean {near[0]!r}?" if near else f"choose from {', '.join(allowed)}"
        raise UsageError(f"{where} is {value!r}; {hint}")


def _check_type(value: Any, annotation: Any, where: str) -> None:
    options = get_args(annotation) if isinstance(annotation, UnionType) else (annotation,)
    kinds = [get_origin(option) or option for option in options]
    if not any(_is_a(value, kind) for kind in kinds):
        wanted = " or ".join(TYPE_NAMES.get(kind, "a list") for kind in kinds if kind is not NoneType)
        raise UsageError(f"{where} is {value!r}; it has to be {wanted}")


def _is_a(value: Any, kind: Any) -> bool:
    if kind is Any:
        return True
    if kind is float:
        return type(value) in (int, float) and math.isfinite(value)
    if kind in (Mapping, Sequence):
        return isinstance(value, dict if kind is Mapping else list) and len(value) > 0
    return type(value) is kind
