"""Define the summary of a run: of a measured load, of a fit of BF16 weights, of verdicts.

Times are in seconds unless the name has another unit. A number is None if it is unknown, never 0 and never NaN.
"""

from dataclasses import dataclass
from pathlib import Path

from pydantic import ConfigDict, Field, JsonValue

from gptoss_bench.runs.calibration import CalibrationSummary
from gptoss_bench.runs.capacity import Capacity
from gptoss_bench.runs.record import Record, html_table, number_at, read_record

Interval = tuple[float, float]
RATES = ("request_s", "output_tok_s_total", "output_tok_s", "wall_s")  # numbers with an interval in RunIntervals


class Percentiles(Record):
    """The median, p90 and p99 of one quantity."""

    p50: float | None = None
    p90: float | None = None
    p99: float | None = None

    def at(self, name: str) -> float | None:
        """Return the percentile of this name, such as "p90"."""
        value: float | None = getattr(self, name)
        return value


class Resolved(Record):
    """Whether at least 10 samples lie beyond each percentile."""

    p50: bool = False
    p90: bool = False
    p99: bool = False

    def at(self, name: str) -> bool:
        """Return whether the percentile of this name is resolved."""
        return bool(getattr(self, name))


class SamplingInterval(Record):
    """The 95 % interval of one number, or `why` there is none (then `low` and `high` are None)."""

    low: float | None = None
    high: float | None = None
    why: str | None = None

    @property
    def ends(self) -> Interval | None:
        """Return low and high; None if there is no interval."""
        return None if self.low is None or self.high is None else (self.low, self.high)


class PercentileIntervals(Record):
    """The sampling interval of each percentile."""

    p50: SamplingInterval | None = None
    p90: SamplingInterval | None = None
    p99: SamplingInterval | None = None

    def at(self, name: str) -> SamplingInterval | None:
        """Return the interval of the percentile of this name."""
        value: SamplingInterval | None = getattr(self, name)
        return value


class Distribution(Percentiles):
    """`n` samples of one quantity: inclusive percentiles, and which of them are resolved."""

    n: int = 0
    mean: float | None = None
    p50_interval: Interval | None = None
    """95 % interval of the median."""
    resolved: Resolved = Field(default_factory=Resolved)
    exclusive: Percentiles = Field(default_factory=Percentiles)
    """The same percentiles by the exclusive rule, which the write-up used."""
    low: Percentiles | None = None
    """Percentiles of the lowest values that the client's timestamps allow."""
    high: Percentiles | None = None
    """Percentiles of the highest values that the client's timestamps allow."""
    intervals: PercentileIntervals | None = None
    """95 % intervals; None in a run that was made before they took waves of requests into account."""

    def client_pair(self, name: str) -> Interval | None:
        """Return the percentile of the lowest and of the highest possible values; None if they are unknown."""
        low, high = (side.at(name) if side else None for side in (self.low, self.high))
        return None if low is None or high is None else (low, high)

    def interval(self, name: str) -> SamplingInterval:
        """Return the 95 % interval of a percentile, or the reason why there is none."""
        if self.intervals and (found := self.intervals.at(name)):
            return found
        return SamplingInterval(why="its file has no interval: it is of another tool or an older run")


@dataclass(frozen=True, slots=True)
class MeasuredNumber:
    """One number of a summary with all that says how far it can be trusted.

    `resolved` is True for a number that is no percentile. `client` is the lowest and the highest value that the
    client's timestamps allow, None if unknown; for a number that does not depend on them it is the value twice.
    `sampling` is its 95 % interval, or the reason why there is none.
    """

    value: float | None
    resolved: bool
    client: Interval | None
    sampling: SamplingInterval


class Median(Record):
    """The median of `n` samples with its 95 % interval, or `why` there is none."""

    n: int = 0
    p50: float | None = None
    interval: Interval | None = None
    why: str | None = None


class TokenRange(Record):
    """The smallest and the largest number of tokens of a request."""

    min: int | None = None
    max: int | None = None


class TokenCounts(TokenRange):
    """Tokens of completed requests; `sum` is None unless every request reports its number."""

    sum: int | None = None
    mean: float | None = None


class ServerReported(Record):
    """What the server reported with its responses: tokens per second of decoding, and durations in seconds.

    `wait_s` is the rest of a request beside loading, prompt and decoding: in Ollama the wait for a slot.
    """

    source: str = ""
    tok_s: Median = Field(default_factory=Median)
    prompt_s: Median = Field(default_factory=Median)
    load_s: Median = Field(default_factory=Median)
    eval_s: Median = Field(default_factory=Median)
    total_s: Median = Field(default_factory=Median)
    wait_s: Median = Field(default_factory=Median)


class ErrorMedianAndTail(Record):
    """p50 and p99 of an error of the client."""

    p50: float | None = None
    p99: float | None = None


class ErrorBar(Record):
    """The floor of the client's errors in seconds, with idle and with contended CPUs, from a calibration.

    It is the worst of the calibration's next lower and next higher load; `why` there is none, else None.
    """

    events_s: float | None = None
    calibration: str | None = None
    """Run id of the calibration."""
    calibration_events_s: float | None = None
    trusted: bool | None = None
    ttft_s: ErrorMedianAndTail | None = None
    itl_s: ErrorMedianAndTail | None = None
    contended_ttft_s: ErrorMedianAndTail | None = None
    contended_itl_s: ErrorMedianAndTail | None = None
    why: str | None = None


class ClientLoad(Record):
    """How busy and how late the client was in the measured phase."""

    timestamp_source: str | None = None
    lag_s: Percentiles | None = None
    """Read time minus kernel timestamp of output-bearing events; None without kernel timestamps."""
    shared_read_share: float | None = None
    """Share of the gaps whose two events came with one read of the socket."""
    events_s: float | None = None
    cpu_s: float | None = None
    cpu_share: float | None = None
    """Share of one core."""
    error_bar: ErrorBar | None = None
    heartbeat_late_s: Percentiles | None = None
    """How much later than planned the client polled its sockets; None if it did not record this."""
    bound: list[str] = Field(default_factory=list)
    """Reasons why the client, and not the server, limited the run; empty if it did not."""
    bound_unknown: str | None = None
    """Why it is unknown whether the client limited the run, else None."""


class AgreementRow(Record):
    """One quantity as client and server measured it, in `unit`.

    `apart` is the client's value minus the nearest end of the server's range, `error` the largest difference that
    agrees, and `power` the smallest one that this row could have seen (None: none, however large). `word` is "agrees",
    "disagrees", "no power" or "other requests"; `agrees` is None for the last two. `allowance` says where the error
    comes from.
    """

    quantity: str
    statistic: str
    unit: str
    client: float
    server_low: float
    server_high: float | None
    apart: float
    error: float
    agrees: bool | None
    client_n: int
    server_n: int
    basis: str
    power: float | None = None
    word: str = ""
    allowance: str = ""


class TailIntervals(Record):
    """95 % intervals of the high percentiles; None if a percentile is not resolved."""

    p90: Interval | None = None
    p99: Interval | None = None


class RunIntervals(Record):
    """95 % intervals of the rates, the wall time and the high percentiles, by their names in the summary."""

    request_s: Interval | None = None
    output_tok_s_total: Interval | None = None
    output_tok_s: Interval | None = None
    wall_s: Interval | None = None
    why: dict[str, str] = Field(default_factory=dict)
    """Why there is no interval, by name."""
    ttft_s: TailIntervals = Field(default_factory=TailIntervals)
    done_s: TailIntervals = Field(default_factory=TailIntervals)


class SweepTimes(Record):
    """One time of one level of a sweep."""

    n: int = 0
    p50: float | None = None
    p50_interval: Interval | None = None
    p50_why: str | None = None
    """Why there is no interval."""
    p50_resolved: bool = False
    p99: float | None = None
    p99_resolved: bool = False
    low: Percentiles | None = None
    """Percentiles of the lowest values that the client's timestamps allow."""
    high: Percentiles | None = None
    """Percentiles of the highest values that the client's timestamps allow."""

    def at(self, name: str) -> float | None:
        """Return the percentile of this name: "p50" or "p99"."""
        value: float | None = getattr(self, name)
        return value

    def resolved(self, name: str) -> bool:
        """Return whether the percentile of this name, "p50" or "p99", is resolved."""
        return bool(getattr(self, f"{name}_resolved"))


class SweepRow(Record):
    """One level of a sweep: counts, rates and times of its closed loop."""

    concurrency: int
    requests: int = 0
    completed: int = 0
    failed: int = 0
    truncated: int = 0
    request_s: float | None = None
    output_tok_s: float | None = None
    output_tok_s_total: float | None = None
    steady_window_s: float | None = None
    concurrency_delivered: float | None = None
    ttft_s: SweepTimes = Field(default_factory=SweepTimes)
    itl_s: SweepTimes = Field(default_factory=SweepTimes)
    tpot_s: SweepTimes = Field(default_factory=SweepTimes)
    done_s: SweepTimes = Field(default_factory=SweepTimes)
    cpu_share: float | None = None
    slot_idle_share: float | None = None
    client_bound: list[str] = Field(default_factory=list)
    client_bound_unknown: str | None = None
    """Why it is unknown whether the client limited this level, else None."""
    goodput_request_s: float | None = None
    """Requests per second of the steady window that met every limit; None without limits."""
    goodput_share: float | None = None
    goodput_share_interval: Interval | None = None
    prompts: str | None = None
    """What was sent, in words; None if unknown."""

    @property
    def goodput_interval(self) -> Interval | None:
        """The interval of `goodput_request_s`: that of the share, scaled."""
        if not self.goodput_share or self.goodput_request_s is None or self.goodput_share_interval is None:
            return None
        scale = self.goodput_request_s / self.goodput_share
        return scale * self.goodput_share_interval[0], scale * self.goodput_share_interval[1]

    def times(self, name: str) -> SweepTimes:
        """Return the times of this name, such as "ttft_s"."""
        value: SweepTimes = getattr(self, name)
        return value


class PhaseSpan(Record):
    """A phase of the telemetry, in ns of CLOCK_MONOTONIC."""

    phase: str
    start_ns: int
    end_ns: int


class GpuDevice(Record):
    """A GPU as its driver describes it."""

    name: str | None = None
    memory_total_bytes: int | None = None
    power_limit_w: float | None = None
    driver: str | None = None


class GpuPhase(Record):
    """Means and maxima of one phase; memory and power are of all GPUs together."""

    samples: int = 0
    utilisation: float | None = None
    memory_utilisation: float | None = None
    power_w: float | None = None
    sm_clock_mhz: float | None = None
    temperature_c: float | None = None
    memory_used_bytes_max: float | None = None
    other_processes_max: float | None = None


class HostPhase(Record):
    """Means and maxima of one phase; CPU of client and engine in cores."""

    samples: int = 0
    cpu_share: float | None = None
    steal_share: float | None = None
    client_cpu: float | None = None
    engine_cpu: float | None = None
    memory_used_bytes_max: float | None = None
    client_rss_bytes_max: float | None = None
    engine_rss_bytes_max: float | None = None


class ServerPhase(Record):
    """Means and maxima of the server's gauges in one phase."""

    samples: int = 0
    running: float | None = None
    waiting: float | None = None
    kv_cache_share: float | None = None
    running_max: float | None = None
    waiting_max: float | None = None
    kv_cache_share_max: float | None = None


class GpuTelemetry(Record):
    """What the GPUs reported; `words` is the message why they did not, else None."""

    words: str | None = None
    devices: list[GpuDevice] = Field(default_factory=list)
    by_phase: dict[str, GpuPhase] = Field(default_factory=dict)
    throttled_share: dict[str, float] | None = None
    """Share of samples during inference by reason for throttling."""


class HostTelemetry(Record):
    """What the host of the client reported."""

    by_phase: dict[str, HostPhase] = Field(default_factory=dict)


class ServerTelemetry(Record):
    """What the server's /metrics reported while it was sampled."""

    by_phase: dict[str, ServerPhase] = Field(default_factory=dict)


class SamplingCost(Record):
    """CPU of the sampler in cores, and the p99 of the seconds that reading each source took."""

    cores: float | None = None
    gpu_s: float | None = None
    host_s: float | None = None
    server_s: float | None = None


class Telemetry(Record):
    """Samples of GPU, host and server; `words` is what is wrong with them, else None."""

    words: str | None = None
    engine_here: bool = False
    """Whether the engine is on the machine of the client."""
    phases: list[PhaseSpan] = Field(default_factory=list)
    gpu: GpuTelemetry = Field(default_factory=GpuTelemetry)
    host: HostTelemetry = Field(default_factory=HostTelemetry)
    server: ServerTelemetry = Field(default_factory=ServerTelemetry)
    energy_j: float | None = None
    cost: SamplingCost = Field(default_factory=SamplingCost)


class HistogramTimes(Record):
    """`n` times of a server's histogram: exact mean, and each percentile as the bounds of its bucket (None: no end)."""

    n: int = 0
    mean: float | None = None
    p50: tuple[float, float | None] | None = None
    p90: tuple[float, float | None] | None = None
    p99: tuple[float, float | None] | None = None

    def bucket(self, name: str) -> tuple[float | None, float | None]:
        """Return the bounds of the bucket of the percentile of this name, such as "p90"; None where unknown."""
        found: tuple[float, float | None] | None = getattr(self, name)
        return found or (None, None)


class ServerMetrics(Record):
    """How the server's own metrics changed over the measured phase; `words` is why this is unknown, else None."""

    words: str | None = None
    source: str | None = None
    times: dict[str, HistogramTimes] = Field(default_factory=dict)
    counts: dict[str, float] = Field(default_factory=dict)
    names: dict[str, str] = Field(default_factory=dict)
    """The engine's name of each quantity."""
    absent: list[str] = Field(default_factory=list)
    """Quantities that this version of the engine does not have."""
    restarted: list[str] = Field(default_factory=list)
    """Quantities that went backwards; their differences are left out."""


class ServerProbes(Record):
    """Responses, outside of the load, that decide claims about an OpenAI-compatible server."""

    http2_requested: bool | None = None
    http_version: str | None = None
    response_keys: list[str] = Field(default_factory=list)
    ttft_field: bool | None = None
    prompt_tokens: int | None = None
    """Tokens of the published prompt."""
    wrong_model_status: int | None = None
    """HTTP status of a request for a model that is not served."""


class ColdRequest(Record):
    """The request that loaded the model: the server's loading time, and the time to its first token."""

    load_s: float | None = None
    ttft_s: float | None = None


class Slo(Record):
    """Upper limits in seconds that a good request meets; None is no limit."""

    ttft_s: float | None = None
    tpot_s: float | None = None
    e2e_s: float | None = None


class WorkerSummary(Record):
    """What one of several client processes sent, and how well its clock and its begin are known.

    `late_s` is the time from which its first measured request was due to its sending.
    """

    shard: int
    slots: int
    requests: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    lost: int = 0
    events_s: float | None = None
    cpu_share: float | None = None
    late_s: float | None = None
    clock_offset_s: float | None = None
    clock_bound_s: float | None = None
    clock_drift_ppm: float | None = None
    bound: list[str] = Field(default_factory=list)
    """Reasons why this process, and not the server, limited its part of the load."""
    gone: str | None = None
    """Why it was gone before its end, None if it was not."""


class FleetSummary(Record):
    """The processes that sent a load together.

    `clock_bound_s` is the largest error of the time between an instant of one and an instant of another of them: only
    wall time, windows and requests in flight depend on it, never a duration of a request. `start_spread_s` is how far
    apart they began.
    """

    workers: list[WorkerSummary] = Field(default_factory=list)
    clock_bound_s: float | None = None
    start_spread_s: float | None = None


class Stalls(Record):
    """How often and how long the client stood still during the measured phase."""

    count: int = 0
    total_s: float | None = None
    longest_s: float | None = None


class TurnSummary(Record):
    """Requests that are one turn of their conversations, or several; what is not a count is of completed ones."""

    requests: int = 0
    completed: int = 0
    ttft_s: Median = Field(default_factory=Median)
    prompt_tokens: float | None = None
    """Mean number of tokens of the prompt: of all that was said before, and the question."""
    cached_share: float | None = None
    """Share of the prompt tokens that the server took from its prefix cache; None if it does not report it."""


class ConversationSummary(Record):
    """The conversations of a load; `completed` are those of which each planned turn completed."""

    conversations: int = 0
    completed: int = 0
    in_progress: float | None = None
    """Mean number of conversations in the steady window, also while their users think; None without a window."""
    first: TurnSummary = Field(default_factory=TurnSummary)
    later: TurnSummary = Field(default_factory=TurnSummary)
    """All turns but the first."""
    turns: list[TurnSummary] = Field(default_factory=list)
    """One by one, the first turn first."""


PERCENTILES = ("p50", "p90", "p99")


def _shown(value: float | None, resolved: bool = True) -> str:
    if value is None:
        return "unknown"
    number = f"{value:,.0f}" if isinstance(value, int) or abs(value) >= 1e4 else f"{value:.4g}"
    return number if resolved else f"~{number}"


class LoadSummary(Record):
    """The summary of a measured load. Counts and times are of the measured phase, times of completed requests."""

    probes: ServerProbes | None = None
    cold: ColdRequest | None = None
    telemetry: Telemetry | None = None
    server_metrics: ServerMetrics | None = None
    requests: int = 0
    completed: int = 0
    failed: int = 0
    cancelled: int = 0
    never_sent: int | None = None
    """Cancelled requests that were not on their way when the load was stopped; None if there is none."""
    lost: int | None = None
    """Requests whose worker process ended; None for a load of one process."""
    fleet: FleetSummary | None = None
    """None: one process sent the load."""
    failures: dict[str, int] = Field(default_factory=dict)
    """Number of failed requests by kind of failure."""
    first_failure: str | None = None
    """HTTP status and error of the first request that failed, such as "status 401: Unauthorized"; None if none did."""
    truncated: int | None = None
    content_filter: int | None = None
    """Completed requests whose answer a content filter stopped; None if there is none."""
    burst: int | None = None
    """Completed requests whose whole output arrived at once: without ITL and TPOT; None if there is none."""
    ttfa_missing: int | None = None
    hidden_reasoning: int | None = None
    """Completed requests whose reported reasoning tokens never arrived: their TTFT is to the first visible token."""
    tpot_missing: dict[str, int] = Field(default_factory=dict)
    """Number of completed requests without TPOT, by reason."""
    wall_s: float | None = None
    request_s: float | None = None
    output_tok_s_total: float | None = None
    """Tokens per second of the whole run, including ramp-up and drain."""
    output_tok_s: float | None = None
    """Tokens per second in the steady window."""
    steady_window_s: float | None = None
    steady_window_ns: tuple[int, int] | None = None
    concurrency_planned: int | None = None
    """Slots of a closed loop; None for an open loop."""
    concurrency_delivered: float | None = None
    rate_planned: float | None = None
    """Requests that were due per second of the planned window of an open loop; None for a closed loop."""
    prompt_tokens: TokenRange = Field(default_factory=TokenRange)
    completion_tokens: TokenCounts = Field(default_factory=TokenCounts)
    requested_tokens: TokenCounts | None = None
    """Token limits of completed requests; None unless requests have limits of their own."""
    prompts: str | None = None
    """What was sent, in words; None if unknown."""
    conversations: ConversationSummary | None = None
    """None: each request is one of its own."""
    tokens_per_event: float | None = None
    percentile_rule: str | None = None
    ttft_s: Distribution = Field(default_factory=Distribution)
    ttfa_s: Distribution = Field(default_factory=Distribution)
    ttfc_s: Distribution = Field(default_factory=Distribution)
    tpot_s: Distribution = Field(default_factory=Distribution)
    e2e_s: Distribution = Field(default_factory=Distribution)
    done_s: Distribution = Field(default_factory=Distribution)
    ttft_scheduled_s: Distribution | None = None
    """From the time at which a request was due; only of an open loop."""
    e2e_scheduled_s: Distribution | None = None
    ttft_formula_s: Distribution = Field(default_factory=Distribution)
    client_queue_s: Distribution = Field(default_factory=Distribution)
    connect_s: Distribution = Field(default_factory=Distribution)
    itl_s: Distribution = Field(default_factory=Distribution)
    server_wait_s: Distribution | None = None
    """Wait for a slot of the server, where its timings show it."""
    server: ServerReported | None = None
    client: ClientLoad = Field(default_factory=ClientLoad)
    slot_idle_share: float | None = None
    """Share of the slots' time in the steady window that passed between the end of a response and the next send."""
    packed_share: float | None = None
    """Share of the gaps whose two events came in one segment of the server; None if unknown."""
    stalls: Stalls | None = None
    slo: Slo | None = None
    goodput_request_s: float | None = None
    goodput_share: float | None = None
    goodput_share_interval: Interval | None = None
    agreement: list[AgreementRow] = Field(default_factory=list)
    power_w: float | None = None
    energy_j_per_tok: float | None = None
    intervals: RunIntervals = Field(default_factory=RunIntervals)
    sweep: list[SweepRow] = Field(default_factory=list)
    capacity: Capacity | None = None
    """The search for the highest load within the SLO; None if there was none."""

    def _repr_html_(self) -> str:
        """Return counts, rates and percentiles for a notebook cell: the whole summary is pages long."""
        numbers, percentiles = self._shown_rows()
        tables = html_table(["attribute", "value"], numbers) + html_table(["", *PERCENTILES, "n"], percentiles)
        return f"{tables}~: not resolved, too few samples. <code>run.summary.document()</code> has everything."

    def __str__(self) -> str:
        """Return the same as text, for `print(run.summary)`."""
        numbers, percentiles = self._shown_rows()
        lines = [f"{name:<20}{value:>12}" for name, value in numbers]
        lines += ["", f"{'':<20}" + "".join(f"{head:>12}" for head in (*PERCENTILES, "n"))]
        lines += [f"{row[0]:<20}" + "".join(f"{cell:>12}" for cell in row[1:]) for row in percentiles]
        return "\n".join([*lines, "~: not resolved, too few samples. run.summary.document() has everything."])

    __repr__ = __str__

    def _shown_rows(self) -> tuple[list[tuple[str, str]], list[list[str]]]:
        """Return counts and rates, and name, percentiles and n of each distribution that has values."""
        names = ("requests", "completed", "failed", "cancelled", "request_s", "output_tok_s_total", "output_tok_s")
        numbers = [(name, _shown(getattr(self, name))) for name in names]
        numbers += [("never_sent", f"{self.never_sent:,} of the cancelled")] if self.never_sent else []
        times = [(name, value) for name, value in self if isinstance(value, Distribution) and value.n]
        percentiles = [
            [name, *(_shown(one.at(at), one.resolved.at(at)) for at in PERCENTILES), str(one.n)] for name, one in times
        ]
        return numbers, percentiles

    def distribution(self, name: str) -> Distribution:
        """Return the distribution of this name, such as "ttft_s"."""
        value: Distribution = getattr(self, name)
        return value

    def rate(self, name: str) -> float | None:
        """Return the rate of this name, such as "output_tok_s_total"."""
        value: float | None = getattr(self, name)
        return value

    def measured(self, path: str) -> MeasuredNumber:
        """Return the number at a path such as "ttft_s.p99", "done_s.exclusive.p50" or "request_s" with its limits."""
        name, at = path.partition(".")[0], path.rpartition(".")[2]
        found, value = getattr(self, name, None), number_at(self, path)
        if isinstance(found, Distribution) and at in Percentiles.model_fields:
            return MeasuredNumber(value, found.resolved.at(at), found.client_pair(at), found.interval(at))
        interval: Interval | None = getattr(self.intervals, name, None) if path in RATES else None
        if interval is None:
            sampling = SamplingInterval(why=self.intervals.why.get(path, "its file has no interval"))
        else:
            sampling = SamplingInterval(low=interval[0], high=interval[1])
        return MeasuredNumber(value, True, None if value is None else (value, value), sampling)


class ArchitectureBytes(Record):
    """Parameters of an architecture, bytes of its weights by dtype and of its KV cache by context."""

    parameters: int
    weights_bytes: dict[str, int]
    kv_bytes: dict[str, int]


class AttemptRecord(Record):
    """How an attempt to load weights ended, see `memory.Attempt`; the two allocations are their labels."""

    outcome: str
    architecture: str
    dtype: str
    budget_bytes: int
    predicted: str | None
    reached: str | None
    allocated_bytes: int
    error: str | None
    exit_code: int
    seconds: float
    how: str
    usage_bytes: dict[str, int] = Field(default_factory=dict)
    layers_apart: int | None = None
    decode_tokens: int = 0
    decode_s: float | None = None


class SinkEffectRecord(Record):
    """What the sinks of a model change on one text, see `memory.SinkEffect`.

    `share` is a mean by layer and head, `share_by_token` by layer and query token (empty in older runs).
    """

    share: list[list[float]]
    share_by_token: list[list[float]] = Field(default_factory=list)
    loss: float
    loss_without: float
    changed: float
    scaling_error: float
    tokens: int


class SinkRecord(Record):
    """Parameters of the attention sinks of a model, and their effect in the tiny model (`memory.SinkEffect`)."""

    parameters_per_layer: int
    total: int
    tiny: SinkEffectRecord


class Bf16Summary(Record):
    """The memory of BF16 weights: bytes, what fits where, and the attempts to load them."""

    architectures: dict[str, ArchitectureBytes] = Field(default_factory=dict)
    fits: dict[str, dict[str, dict[str, bool]]] = Field(default_factory=dict)
    """Whether weights, KV cache and activations fit: by GPU, architecture and dtype."""
    sinks: SinkRecord | None = None
    mxfp4: dict[str, JsonValue] = Field(default_factory=dict)
    """The installed packages and what transformers does with MXFP4 weights there."""
    attempt: AttemptRecord | None = None
    """The attempt to load BF16 weights."""
    control: AttemptRecord | None = None
    """The same attempt with MXFP4 weights."""


class VerdictsSummary(Record):
    """How many claims got which verdict on which basis, and from which runs."""

    claims: int
    headline: str = ""
    """How many performance figures were measured on the published hardware, of how many."""
    bases: dict[str, int] = Field(default_factory=dict)
    verdicts: dict[str, int]
    runs: list[str]
    chosen: dict[str, str] = Field(default_factory=dict)
    """By run of the evidence: why it was chosen."""
    refused: dict[str, str] = Field(default_factory=dict)
    """By folder that is no evidence: why not."""


class MethodTrialRow(Record):
    """The published method in one case: `requests` at once, of `prompt_tokens` and `tokens`, a token every `itl_s`."""

    case: str
    requests: int
    prompt_tokens: int
    tokens: int
    itl_s: float
    first_token_s: float
    """Median of the true times to the first token, by the log of the server."""
    kit_ttft_s: float
    """Median TTFT of the kit's client, which streamed replies of the same server."""
    printed_ttft_s: Percentiles
    """What the method calls TTFT."""
    printed_latency_s: Percentiles
    printed_output_tok_s: float | None
    http: str
    """Which HTTP the method asked for and got."""
    printed: str
    """Everything that the method printed of the load."""


class MethodTrialSummary(Record):
    """What the published method prints where the time of the first token is known, by case."""

    rows: list[MethodTrialRow]


class OtherSummary(Record):
    """The summary of a scenario without a model, of any content; empty for a run that did not end."""

    model_config = ConfigDict(extra="allow")


Summary = LoadSummary | CalibrationSummary | MethodTrialSummary | Bf16Summary | VerdictsSummary | OtherSummary

MODEL_BY_SCENARIO: dict[str, type[CalibrationSummary | MethodTrialSummary | Bf16Summary | VerdictsSummary]] = {
    "calibration": CalibrationSummary,
    "method-trial": MethodTrialSummary,
    "transformers-bf16": Bf16Summary,
    "verdicts": VerdictsSummary,
}


def read_summary(scenario: str, content: dict[str, JsonValue], file: Path) -> Summary:
    """Return the content of a summary.json as the record of its scenario. Raises UsageError if a value is not valid."""
    if not content:
        return OtherSummary()
    if model := MODEL_BY_SCENARIO.get(scenario):
        return read_record(model, content, file)
    if "percentile_rule" in content:
        return read_record(LoadSummary, content, file)
    return read_record(OtherSummary, content, file)
