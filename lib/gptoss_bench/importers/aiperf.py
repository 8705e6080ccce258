"""Read profile_export_aiperf.json (percentiles) and profile_export.jsonl (requests) of aiperf, tried with 0.13.0."""

from collections.abc import Sequence
from typing import Annotated, Literal

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, distribution, of_rows, reported_only
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Number, ToolFile
from gptoss_bench.runs import Clock, Distribution, EndpointRecord, Manifest, TokenCounts, derive_tables

TOOL = "aiperf"
_TIMES = {
    "ttft_s": "time_to_first_token",
    "ttfa_s": "time_to_first_output_token",
    "tpot_s": "inter_token_latency",
    "itl_s": "inter_chunk_latency",
    "e2e_s": "request_latency",
    "done_s": "request_latency",
}
_SCALE = {"ms": 1e-3, "sec": 1.0, "s": 1.0, "us": 1e-6, "ns": 1e-9}
_TimeUnit = Literal["ms", "sec", "s", "us", "ns"]
NOTES = (
    "TTFT has the connecting in it",
    "ITL is what it calls inter-chunk latency",
    "TPOT is what it calls inter-token latency, a request's mean",
)


class Metric(ToolFile):
    """A metric over all requests; of a count, a rate and a duration only the `avg` is written."""

    avg: MaybeNumber = None


class TimeMetric(Metric):
    """A time of `count` requests."""

    unit: _TimeUnit
    count: Count | None = None
    p50: MaybeNumber = None
    p90: MaybeNumber = None
    p99: MaybeNumber = None


class Phase(ToolFile):
    """A phase of the load; a warm-up is of the kind "warmup"."""

    kind: str | None = None
    concurrency: Count | None = None


class Model(ToolFile):
    """A model that was asked for."""

    name: str | None = None


class Models(ToolFile):
    """The models of a load."""

    items: list[Model] = Field(default_factory=list)


class InputConfig(ToolFile):
    """What aiperf was asked to do."""

    phases: list[Phase] | None = None
    models: Models | None = None


class Profile(ToolFile):
    """The content of profile_export_aiperf.json."""

    aiperf_version: str
    input_config: InputConfig | None = None
    request_count: Metric | None = None
    error_request_count: Metric | None = None
    benchmark_duration: Metric | None = None
    request_throughput: Metric | None = None
    total_output_tokens: Metric | None = None
    output_token_throughput: Metric | None = None
    output_sequence_length: Metric | None = None
    time_to_first_token: TimeMetric | None = None
    time_to_first_output_token: TimeMetric | None = None
    inter_token_latency: TimeMetric | None = None
    inter_chunk_latency: TimeMetric | None = None
    request_latency: TimeMetric | None = None

    def value(self, name: str) -> float | None:
        """Return the mean of a metric, None where it was not written."""
        metric: Metric | None = getattr(self, name)
        return metric.avg if metric else None

    def count(self, name: str) -> int:
        """Return a metric that counts requests, 0 where it was not written."""
        return round(self.value(name) or 0)


class RequestMetadata(ToolFile):
    """When a request was sent, by the monotonic clock in ns, and in which phase."""

    request_start_ns: Annotated[int, Field(ge=0, le=9 * 10**18)]
    benchmark_phase: str | None = None
    was_cancelled: bool | None = None


class Value(ToolFile):
    """A number of tokens of one request."""

    value: Annotated[Number, Field(ge=0, lt=2**31)]


class Time(ToolFile):
    """A time of one request."""

    value: Number
    unit: _TimeUnit

    @property
    def seconds(self) -> float:
        """Return the time in seconds."""
        return self.value * _SCALE[self.unit]


class Times(ToolFile):
    """The gaps between the chunks of one request."""

    value: list[Number] = Field(default_factory=list)
    unit: _TimeUnit = "ms"

    @property
    def seconds(self) -> list[float]:
        """Return the gaps in seconds."""
        return [value * _SCALE[self.unit] for value in self.value]


class RequestMetrics(ToolFile):
    """What aiperf measured of one request."""

    time_to_first_token: Time | None = None
    time_to_first_output_token: Time | None = None
    request_latency: Time | None = None
    inter_chunk_latency: Times | None = None
    output_sequence_length: Value | None = None
    input_sequence_length: Value | None = None


class RequestLine(ToolFile):
    """A line of profile_export.jsonl; `error` is set where the request failed."""

    metadata: RequestMetadata
    metrics: RequestMetrics | None = None
    error: JsonValue = None


class RequestLines(ToolFile):
    """The content of profile_export.jsonl."""

    lines: list[RequestLine]


def parse_aiperf(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of a parsed file of percentiles; empty for another format.

    Raises UsageError for a wrong field.
    """
    if not isinstance(content, dict) or "aiperf_version" not in content:
        return []
    found = Profile.read(content, file=file, tool=TOOL)
    config = found.input_config or InputConfig()
    phases = config.phases or []
    measured = [phase for phase in phases if phase.kind != "warmup"]
    concurrency = measured[0].concurrency if measured else None
    completed, failed = found.count("request_count"), found.count("error_request_count")
    tokens = found.value("total_output_tokens")
    summary = reported_only(
        concurrency,
        requests=completed + failed,
        completed=completed,
        failed=failed,
        failures={"unnamed": failed} if failed else {},
        wall_s=found.value("benchmark_duration"),
        request_s=found.value("request_throughput"),
        output_tok_s_total=found.value("output_token_throughput"),
        completion_tokens=TokenCounts(
            sum=None if tokens is None else round(tokens), mean=found.value("output_sequence_length")
        ),
        percentile_rule="inclusive",  # numpy's default makes them
        warmup_requests=0 if phases and len(measured) == len(phases) else None,
        **{name: _distribution(getattr(found, its)) for name, its in _TIMES.items()},
    )
    models = config.models.items if config.models else []
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(model=models[0].name if models else None),
        parameters={"concurrency": concurrency},
    )
    return [ImportedResult(TOOL, found.aiperf_version, summary, derive_tables([])[0], manifest, NOTES)]


def _distribution(reported: TimeMetric | None) -> Distribution:
    if reported is None:
        return Distribution()
    points = {"p50": reported.p50, "p90": reported.p90, "p99": reported.p99}
    return distribution(reported.count, points, mean=reported.avg, scale=_SCALE[reported.unit])


def parse_aiperf_lines(lines: Sequence[JsonValue], file: str) -> list[ImportedResult]:
    """Return the result of a file of requests, each line parsed; empty for another format.

    The file does not report the planned concurrency, so there is no steady window. Raises UsageError for a wrong field.
    """
    if not lines or not all(isinstance(line, dict) and _has_start(line.get("metadata")) for line in lines):
        return []
    found = RequestLines.read({"lines": lines}, file=file, tool=TOOL)
    rows = sorted(map(_row, found.lines), key=lambda row: row.sent_ns)
    summary, requests = of_rows(rows, concurrency=None, gaps_known=True)
    return [ImportedResult(TOOL, None, summary, requests, Manifest(clock=Clock(source="CLOCK_MONOTONIC")), NOTES)]


def _has_start(metadata: JsonValue) -> bool:
    return isinstance(metadata, dict) and "request_start_ns" in metadata


def _row(line: RequestLine) -> ImportedRow:
    metadata, metrics = line.metadata, line.metrics or RequestMetrics()
    start_ns = metadata.request_start_ns
    phase = "warmup" if metadata.benchmark_phase == "warmup" else "measure"
    if line.error:
        return ImportedRow(start_ns, outcome="failed", failure="unnamed", error=str(line.error), phase=phase)
    return ImportedRow(
        sent_ns=start_ns,
        ttft_s=_seconds(metrics.time_to_first_token),
        ttfa_s=_seconds(metrics.time_to_first_output_token),
        e2e_s=_seconds(metrics.request_latency),
        prompt_tokens=_tokens(metrics.input_sequence_length),
        completion_tokens=_tokens(metrics.output_sequence_length),
        gaps_s=metrics.inter_chunk_latency.seconds if metrics.inter_chunk_latency else (),
        outcome="cancelled" if metadata.was_cancelled else "completed",
        phase=phase,
    )


def _seconds(time: Time | None) -> float | None:
    return time.seconds if time else None


def _tokens(found: Value | None) -> int | None:
    return round(found.value) if found else None
