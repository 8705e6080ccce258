"""Define what a capacity search looks for, the levels that it measured, and what they say about the server."""

from typing import Literal

from pydantic import Field

from gptoss_bench.runs.record import Record

CapacityUnit = Literal["rate", "concurrency"]
CapacityWord = Literal["carries", "between", "at least", "less than", "cannot tell"]


class CapacityGoal(Record):
    """The highest load at which this share of the requests still meets every limit of the SLO.

    The load is raised as a rate (requests/s, an open loop) or as a concurrency (requests in flight, a closed loop).
    """

    share: float = 0.95
    by: CapacityUnit = "rate"


class CapacityLevel(Record):
    """One level of a search. Only its steady part counts: the beginning and the end, as the load fills and drains, not.

    `met` requests met every limit. The client's timestamps allow that `met_low` to `met_high` of them did. `limited`
    has the reasons why the client may have limited the level, which then is no evidence.
    """

    phase: str
    level: float
    """Requests per second, or requests in flight."""
    requests: int = 0
    met: int = 0
    met_low: int = 0
    met_high: int = 0
    failed: int = 0
    over_limit: int = 0
    """Requests that were not sent because the plan's limit of requests in flight was reached; not in `requests`."""
    late_s: float | None = None
    """p99 of how late requests were sent."""
    request_s: float | None = None
    """Requests that completed per second of the steady part."""
    tokens: float | None = None
    """Mean output tokens of a completed request."""
    cpu_share: float | None = None
    """Share of one core that the client used."""
    limited: list[str] = Field(default_factory=list)

    @property
    def share(self) -> float | None:
        """Return the share of requests that met every limit; None if none counts."""
        return self.met / self.requests if self.requests else None


class Capacity(Record):
    """The result of a search: what the server carries within the SLO, in requests/s or in requests in flight.

    `word` is "carries" (`value` with its 95 % interval `low` to `high`), "between" (a level at `low` met the SLO, one
    at `high` missed it, and there is no interval), "at least" (`low`), "less than" (`high`), or "cannot tell". `why` is
    the reason for each but the first. A search by concurrency has `request_s`, completed requests/s at `value`.
    """

    goal: CapacityGoal = Field(default_factory=CapacityGoal)
    levels: list[CapacityLevel] = Field(default_factory=list)
    word: CapacityWord = "cannot tell"
    value: float | None = None
    low: float | None = None
    high: float | None = None
    why: str | None = None
    slope: float | None = None
    """Of the fitted curve: by how much the log-odds of a miss rise per unit of the logarithm of the load."""
    dispersion: float | None = None
    """How many times as much levels differ as independent requests would; at least 1."""
    request_s: float | None = None
    output_tok_s: float | None = None
    """Output tokens per second at `value`."""
