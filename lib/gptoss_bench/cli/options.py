"""Options that several commands share, and options that are made from the fields of a dataclass."""

import inspect
import os
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Any, TypeVar

import typer

from gptoss_client import CA_FILE_VARIABLE, UsageError, tls_context

Record = TypeVar("Record")
Function = TypeVar("Function", bound=Callable[..., Any])


def _parse_share(text: str | float) -> float:
    """Parse a share such as 3% or 0.03 and return it as a number above 0 and below 1."""
    text = str(text)
    try:
        value = float(text.removesuffix("%")) / (100 if text.endswith("%") else 1)
    except ValueError:
        value = 0.0
    if not 0 < value < 1:
        raise ValueError("it is not a share: write 3% or 0.03")
    return value


def share_option(help_text: str) -> Any:
    """Return an option for a share such as 3% or 0.03."""
    return typer.Option(parser=_parse_share, metavar="SHARE", help=help_text)


Json = Annotated[bool, typer.Option("--json", help="print JSON instead of text")]
ResultsFolder = Annotated[
    Path | None, typer.Option(metavar="DIR", help="folder that holds runs/<run> (default: results)")
]

CaFile = Annotated[
    Path | None,
    typer.Option("--cacert", metavar="FILE", help="PEM file of the CAs that sign the server's certificate"),
]


def use_ca_file(file: Path | None) -> None:
    """Trust the CAs in a PEM file in this process and in those that it starts. Raises UsageError if it holds none."""
    if file is not None:
        os.environ[CA_FILE_VARIABLE] = str(file.absolute())
        tls_context()


@dataclass(frozen=True)
class FieldOption:
    """The option of one field of a dataclass; flags, type and default are those of the field unless given here."""

    help: str
    flags: tuple[str, ...] = ()
    type: Any = None
    default: Any = ...
    metavar: str | None = None


def field_options(record: type, options: Mapping[str, FieldOption], panel: str) -> Callable[[Function], Function]:
    """Add one option per entry of `options` to a command; the command gets their values as its keyword arguments.

    Args:
        record: Dataclass of which each key of `options` is a field.
        options: Field name and its option, in the order of `--help`.
        panel: Heading of these options in `--help`.
    """
    declared = {field.name: field for field in fields(record)}

    def parameter(name: str, option: FieldOption) -> inspect.Parameter:
        field = declared[name]
        default = field.default if option.default is ... else option.default
        flags = option.flags or (f"--{name.replace('_', '-')}",)
        info = typer.Option(*flags, help=option.help, metavar=option.metavar, rich_help_panel=panel)
        kind = Annotated[option.type or field.type, info]  # type: ignore[valid-type]
        return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=kind)

    def decorate(function: Function) -> Function:
        signature = inspect.signature(function)
        own = [one for one in signature.parameters.values() if one.kind is not inspect.Parameter.VAR_KEYWORD]
        made = [parameter(name, option) for name, option in options.items()]
        function.__signature__ = signature.replace(parameters=[*own, *made])  # type: ignore[attr-defined]
        return function

    return decorate


def build_record(
    record: Callable[..., Record], options: Mapping[str, FieldOption], values: Mapping[str, Any]
) -> Record:
    """Build a dataclass from options. Its UsageError names the options where the dataclass names its fields."""
    try:
        return record(**values)
    except UsageError as error:
        text = str(error)
        if re.search(r" line \d+\b", text):  # of a file: it names columns
            raise
        for name, option in options.items():
            flag = option.flags[0] if option.flags else f"--{name.replace('_', '-')}"
            # A name that is a common word is only replaced where the message is about it.
            text = re.sub(rf"\b{name}\b" if "_" in name else rf"^{name}\b", flag, text)
        raise UsageError(text) from error
