"""What a load sends and when: number of slots, number of requests or duration, prompts, limits, timeouts."""

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
    """A closed loop: each of `concurrency` slots sends its next request as soon as its last one has ended.

    Set either `requests` or `duration_s`; after `duration_s` seconds no request is sent, and those in flight may end.
    `warmup` requests are sent first and recorded as a phase of their own.

    `prompts` is "fixed" (the same prompt for all requests) or "distinct" (prompts of equal length that differ from
    the first word on, so that a prefix cache has no effect). `salt` is random for each plan and makes distinct prompts
    differ between runs. `token_counts` asks for a running token count in every event, a small extra cost for the
    server. `options` are additional fields of the request body.

    `timeout_s` limits a request from sending to its end, `connect_timeout_s` the opening of its connection,
    `first_timeout_s` the wait for the first bytes of the body, `idle_timeout_s` each wait after these. None: no limit.

    `sweep` lists rising concurrencies; the load is repeated at each of them afterwards, with `sweep_waves` requests
    per slot.

    Raises UsageError if a value is not valid.
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
    connect_timeout_s: float = 10.0
    first_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    options: dict[str, Any] = field(default_factory=dict)
    sweep: tuple[int, ...] = ()
    sweep_waves: int = 4

    def __post_init__(self) -> None:
        _check_at_least("concurrency", self.concurrency, 1)
        _check_at_least("warmup", self.warmup, 0)
        _check_at_least("max_tokens", self.max_tokens, 1)
        _check_at_least("temperature", self.temperature, 0)
        _check_at_least("min_tokens", self.min_tokens, 0)
        _check_at_least("requests", self.requests, 1)
        _check_at_least("sweep_waves", self.sweep_waves, 3)
        object.__setattr__(self, "sweep", _checked_sweep(self.sweep))
        for name in ("duration_s", "timeout_s", "connect_timeout_s", "first_timeout_s", "idle_timeout_s"):
            value = getattr(self, name)
            if value is not None and not 0 < value < float("inf"):
                raise UsageError(f"{name} must be a number of seconds above 0, not {value}")
        if (self.requests is None) == (self.duration_s is None):
            raise UsageError(
                f"set either requests or duration_s, not both and not neither: "
                f"requests is {self.requests}, duration_s is {self.duration_s}"
            )
        if self.prompts not in ("fixed", "distinct"):
            raise UsageError(f"prompts must be 'fixed' or 'distinct', not {self.prompts!r}")
        if not self.prompt.strip():
            raise UsageError("the prompt is empty: set a text to send")


def _checked_sweep(sweep: Sequence[int]) -> tuple[int, ...]:
    """Return the levels as a tuple. Raises UsageError unless they are rising whole numbers from 1 on."""
    whole = all(isinstance(level, int) and not isinstance(level, bool) for level in sweep)
    if not whole or any(low >= high for low, high in pairwise((0, *sweep))):
        given = ", ".join(map(str, sweep))
        raise UsageError(f"the levels of a sweep must be rising whole numbers from 1 on, not {given}")
    return tuple(sweep)


def _check_at_least(name: str, value: float | None, least: int) -> None:
    if value is not None and not value >= least:
        raise UsageError(f"{name} must be {least} or more, not {value}")
