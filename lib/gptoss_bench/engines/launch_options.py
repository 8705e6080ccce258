"""Define the choice of a server: which one is measured, and with which options it is started."""

import shlex
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError, model_validator
from pydantic.functional_validators import ModelWrapValidatorHandler

from gptoss_bench.engines.registry import DIALECTS, ENGINE_SPECS, LAUNCHABLE_ENGINES
from gptoss_bench.runs import STATED_LABELS
from gptoss_bench.validation import OneOf, find_mistakes
from gptoss_client import UsageError

LAST_CORE = "last"
CORES = rf"^({LAST_CORE}|\d+(-\d+)?(,\d+(-\d+)?)*|)$"  # "", the word, or a list as taskset reads it


class ServerChoice(BaseModel):
    """The server at `url`; else, if `embedded`, the stand-in of `engine`; else `engine`, which is started.

    With neither `url` nor `engine` it is the embedded engine. The profiles, the notebooks' parameters and the run panel
    take names, types, defaults and descriptions from these fields.

    Raises UsageError, in one line, if a value is not valid or the engine does not have an option that is set.
    """

    model_config = ConfigDict(frozen=True, extra="forbid", strict=True, use_attribute_docstrings=True)

    engine: Annotated[str, OneOf(("", *LAUNCHABLE_ENGINES))] = ""
    """engine to start"""
    embedded: bool = False
    """start the stand-in of the engine, with the tiny model"""
    url: str = ""
    """root URL of a running server; empty: start one"""
    model: str = ""
    """served model; empty: the only one of the server, or the engine's default; random:gpt-oss-20b: random weights"""
    dialect: Annotated[str, OneOf(("", *DIALECTS))] = ""
    """API of the running server; empty: detect it"""
    label: Annotated[str, OneOf(("", *STATED_LABELS))] = ""
    """label of a running server that does not report it, such as RANDOM WEIGHTS"""
    context: Annotated[int, Field(ge=0)] = 0
    """context in tokens; 0: the engine's default"""
    prefix_caching: Literal["", "on", "off"] = ""
    """prefix cache; empty: the engine's default"""
    engine_flags: str = ""
    """more flags of the engine's command line, split as by a shell"""
    engine_cores: Annotated[str, Field(pattern=CORES, examples=["last", "4-7"])] = ""
    """cores of an engine that computes on this machine's CPU: `last` leaves the others to the client, or a list such as
    4-7; empty: all"""

    @model_validator(mode="wrap")
    @classmethod
    def _in_one_line(cls, given: Any, handler: ModelWrapValidatorHandler[Self]) -> Self:
        if isinstance(given, dict) and not any(given.get(name) for name in ("url", "engine", "embedded")):
            given = {**given, "embedded": True}
        try:
            choice = handler(given)
        except ValidationError as error:
            raise UsageError(find_mistakes(error, TypeAdapter(cls))[0].sentence()) from None
        choice._check_options()
        return choice

    @property
    def starts(self) -> bool:
        """Whether the engine itself is started: no running server and no stand-in."""
        return not (self.url or self.embedded)

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the flags as a list of arguments."""
        return tuple(shlex.split(self.engine_flags))

    def _check_options(self) -> None:
        """Raise UsageError where the server does not have an option that is set."""
        try:
            shlex.split(self.engine_flags)
        except ValueError as error:
            raise UsageError(f"the engine's flags {self.engine_flags!r} cannot be read: {error}") from None
        if self.label and not self.url:
            raise UsageError("label is for a running server: the kit knows what it starts")
        if self.engine_cores and self.url:
            raise UsageError("engine_cores is for an engine that is started here: leave it empty")
        if not (self.prefix_caching or self.engine_flags):
            return
        if not self.starts:
            raise UsageError("prefix_caching and engine_flags are for an engine that is started here: leave them empty")
        spec = ENGINE_SPECS[self.engine]
        if self.prefix_caching and not spec.has_prefix_caching_option:
            raise UsageError(f"{self.engine} has no option for prefix caching: leave prefix_caching empty")
        if self.engine_flags and not spec.has_flags:
            variables = " and ".join(f"{prefix}…" for prefix in spec.environment_prefixes)
            raise UsageError(
                f"{self.engine} takes no flags: set its {variables} variables in the environment, they are recorded"
            )
