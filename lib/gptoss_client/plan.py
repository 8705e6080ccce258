"""What a load is to be: its shape, its prompts, and the body of each request in the server's dialect."""

import secrets
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from gptoss_client.errors import UsageError

PUBLISHED_PROMPT = "Explain quantum mechanics in one paragraph."
PUBLISHED_SYSTEM = "You are a helpful assistant."


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A closed loop: `concurrency` slots, each sending its next request when its last one has ended.

    Either `requests` are sent or the loop runs for `duration_s` seconds and lets what is in flight end. `warmup`
    requests go first and are kept apart. `prompts` is "fixed" (one prompt for all, as the write-up did) or
    "distinct" (equally long, different from the first word we control on, so that a prefix cache cannot serve
    them; `salt`, drawn anew for each plan, makes them differ between runs). `timeout_s` bounds one request, from its
    sending to its end, `first_timeout_s` the wait for the first of its events, `idle_timeout_s` each wait after that.
    `token_counts` asks for a running count in every event, which costs the server a little work. `sweep` names
    concurrencies, rising, at which the load is made once more afterwards, apart from it, with `sweep_waves` requests a
    slot (sweep.py).
    Raises UsageError where a value makes no sense.
    """

    concurrency: int = 8
    requests: int | None = 48
    duration_s: float | None = None
    warmup: int = 0
    prompt: str = PUBLISHED_PROMPT
    system: str | None = PUBLISHED_SYSTEM
    prompts: str = "fixed"
    salt: int = field(default_factory=lambda: secrets.randbelow(10**6))
    max_tokens: int = 256
    temperature: float = 0.0
    ignore_eos: bool = False
    min_tokens: int | None = None
    token_counts: bool = False
    timeout_s: float = 600.0
    first_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sweep: tuple[int, ...] = ()
    sweep_waves: int = 4

    def __post_init__(self) -> None:
        """Refuse what cannot be run, in words."""
        _at_least("concurrency", self.concurrency, 1)
        _at_least("warmup", self.warmup, 0)
        _at_least("max_tokens", self.max_tokens, 1)
        _at_least("temperature", self.temperature, 0)
        _at_least("min_tokens", self.min_tokens, 0)
        _at_least("requests", self.requests, 1)
        _at_least("sweep_waves", self.sweep_waves, 3)
        object.__setattr__(self, "sweep", _levels(self.sweep))
        for name in ("duration_s", "timeout_s", "first_timeout_s", "idle_timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a number of seconds above 0, not {value}")
        if (self.requests is None) == (self.duration_s is None):
            raise UsageError("give either a number of requests or a duration, not both and not neither")
        if self.prompts not in ("fixed", "distinct"):
            raise UsageError(f"prompts must be 'fixed' or 'distinct', not {self.prompts!r}")
        if not self.prompt.strip():
            raise UsageError("the prompt is empty: give a text to send")


def _levels(sweep: Sequence[int]) -> tuple[int, ...]:
    """The levels of a sweep as JSON, YAML or a cell gave them. Raises UsageError where they do not rise from 1 on."""
    whole = all(isinstance(level, int) and not isinstance(level, bool) for level in sweep)
    if not whole or any(low >= high for low, high in pairwise((0, *sweep))):
        given = ", ".join(map(str, sweep))
        raise UsageError(f"the levels of a sweep are whole numbers from 1 on, each above the one before, not {given}")
    return tuple(sweep)


def _at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise UsageError(f"{name} must be {least} or more, not {value}")
