"""Define and check the options with which an engine is started."""

import shlex
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from gptoss_bench.engines.registry import ENGINE_SPECS, LAUNCHABLE_ENGINES
from gptoss_client import UsageError

PREFIX_CACHING = {"": None, "on": True, "off": False}


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How to start an engine; attaching to a running server uses `request_options` only.

    `slots` requests are decoded at a time with `context` tokens each, where the engine has such an option; None
    leaves the context to the engine. `prefix_caching` is "on", "off" or "" for the engine's default. `flags` are
    appended to its command line, split as by a shell. `request_options` are those of the load that follows: Ollama
    loads its model by them.
    """

    slots: int = 8
    context: int | None = None
    prefix_caching: str = ""
    flags: str = ""
    request_options: Mapping[str, Any] | None = None

    @property
    def arguments(self) -> tuple[str, ...]:
        """Return the flags as a list of arguments. Raises UsageError where a quotation mark is not closed."""
        try:
            return tuple(shlex.split(self.flags))
        except ValueError as error:
            raise UsageError(f"the engine's flags {self.flags!r} cannot be read: {error}") from None


def check_options(engine: str, options: LaunchOptions, *, started: bool) -> None:
    """Raise UsageError where an engine, `started` here or attached or embedded, does not support them."""
    if started and engine not in LAUNCHABLE_ENGINES:
        raise UsageError(f"the engine {engine!r} is unknown: choose one of {', '.join(LAUNCHABLE_ENGINES)}")
    if options.prefix_caching not in PREFIX_CACHING:
        raise UsageError(
            f"prefix_caching is 'on', 'off' or '' for the engine's default, not {options.prefix_caching!r}"
        )
    if not (options.prefix_caching or options.flags):
        return
    if not started:
        raise UsageError("prefix_caching and engine_flags are for an engine that is started here: leave them empty")
    spec = ENGINE_SPECS[engine]
    if options.prefix_caching and not spec.has_prefix_caching_option:
        raise UsageError(f"{engine} has no option for prefix caching: leave prefix_caching empty")
    if options.flags and not spec.has_flags:
        variables = " and ".join(f"{prefix}…" for prefix in spec.environment_prefixes)
        raise UsageError(
            f"{engine} takes no flags: set its {variables} variables in the environment, they are recorded"
        )
