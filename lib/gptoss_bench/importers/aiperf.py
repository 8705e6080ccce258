"""Read the percentiles (JSON, CSV) and the requests (JSON lines) of aiperf, and the percentiles of genai-perf.

aiperf is the successor of genai-perf and writes the same metrics: profile_export_aiperf.json or .csv, the first ones
without a version, profile_export_genai_perf.json or .csv, and profile_export.jsonl with the requests of aiperf.
"""

import re
from collections.abc import Sequence
from typing import Annotated, Any, Literal, Self, TypeVar

from pydantic import AliasChoices, Field, JsonValue, model_validator

from gptoss_bench.importers.imported_result import (
    ImportedResult,
    ImportedRow,
    distribution,
    imported,
    of_rows,
    reported_load,
)
from gptoss_bench.importers.plain_text import csv_rows
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Number, Tool, ToolFile
from gptoss_bench.runs import Clock, Distribution, EndpointRecord, Manifest

AIPERF = Tool("aiperf", "files since 2025-10 up to 0.13.0")
GENAI_PERF = Tool("genai-perf", "files of 2025")
_MARKS = ("request_latency", "request_throughput")
_AIPERF_MARKS = ("aiperf_version", "was_cancelled", "error_summary")
_TIMES = {
    "ttft_s": "time_to_first_token",
    "ttfa_s": "time_to_first_output_token",
    "tpot_s": "inter_token_latency",
    "itl_s": "inter_chunk_latency",
    "e2e_s": "request_latency",
    "done_s": "request_latency",
}
_SCALE = {"ms": 1e-3, "sec": 1.0, "s": 1.0, "us": 1e-6, "ns": 1e-9}
MOST_S = 1e9
_Record = TypeVar("_Record")
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


class LoadGenerator(ToolFile):
    """The load of aiperf before it had phases, and the stimulus of genai-perf."""

    concurrency: Count | None = None


class Endpoint(ToolFile):
    """The server that was measured, in files of aiperf before its `models`."""

    model_names: list[str] | None = None


class PerfAnalyzer(ToolFile):
    """The load generator below genai-perf."""

    stimulus: LoadGenerator | None = None


class InputConfig(ToolFile):
    """What the tool was asked to do."""

    phases: list[Phase] | None = None
    models: Models | None = None
    loadgen: LoadGenerator | None = None
    endpoint: Endpoint | None = None
    perf_analyzer: PerfAnalyzer | None = None
    concurrency: Count | None = None
    model_names: Annotated[list[str] | str | None, Field(validation_alias=AliasChoices("model_names", "model"))] = None

    @property
    def loads(self) -> list[Phase]:
        """Return the phases that are no warm-up."""
        return [phase for phase in self.phases or () if phase.kind != "warmup"]

    @property
    def planned_concurrency(self) -> int | None:
        """Return the planned number of requests in flight, from where the version has it."""
        analyzer = self.perf_analyzer and self.perf_analyzer.stimulus
        places = (*self.loads[:1], self.loadgen, analyzer, self)
        return next((place.concurrency for place in places if place and place.concurrency is not None), None)

    @property
    def model_name(self) -> str | None:
        """Return the model that was asked for, from where the version has it."""
        named = [one.name for one in self.models.items if one.name] if self.models else []
        given = self.model_names or (self.endpoint and self.endpoint.model_names) or []
        names = named or ([given] if isinstance(given, str) else given)
        return names[0] if names else None


class Profile(ToolFile):
    """The content of profile_export_aiperf.json."""

    aiperf_version: str | None = None
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

    def count(self, name: str) -> int | None:
        """Return a metric that counts requests, None where it was not written."""
        value = self.value(name)
        return None if value is None else round(value)


class RequestMetadata(ToolFile):
    """When a request was sent, by the clock of aiperf in ns, and in which phase."""

    request_start_ns: Annotated[int, Field(ge=0, le=9 * 10**18)] = Field(
        validation_alias=AliasChoices("request_start_ns", "timestamp_ns")
    )
    benchmark_phase: Annotated[str | None, Field(validation_alias=AliasChoices("benchmark_phase", "credit_phase"))] = (
        None
    )
    was_cancelled: bool | None = None


class Value(ToolFile):
    """A number of tokens of one request."""

    value: Annotated[Number, Field(ge=0, lt=2**31)]


def _in_ns(record: _Record, values: Sequence[float], unit: _TimeUnit) -> _Record:
    """Return the record if its times fit into columns of nanoseconds."""
    if any(abs(value) * _SCALE[unit] > MOST_S for value in values):
        raise ValueError(f"a time is at most {MOST_S:g} s")
    return record


class Time(ToolFile):
    """A time of one request."""

    value: Number
    unit: _TimeUnit

    @model_validator(mode="after")
    def _fits(self) -> Self:
        return _in_ns(self, [self.value], self.unit)

    @property
    def seconds(self) -> float:
        """Return the time in seconds."""
        return self.value * _SCALE[self.unit]


class Times(ToolFile):
    """The gaps between the chunks of one request."""

    value: list[Number] = Field(default_factory=list)
    unit: _TimeUnit = "ms"

    @model_validator(mode="after")
    def _fits(self) -> Self:
        return _in_ns(self, self.value, self.unit)

    @property
    def seconds(self) -> list[float]:
        """Return the gaps in seconds."""
        return [value * _SCALE[self.unit] for value in self.value]


class RequestMetrics(ToolFile):
    """What aiperf measured of one request."""

    time_to_first_token: Annotated[Time | None, Field(validation_alias=AliasChoices("time_to_first_token", "ttft"))] = (
        None
    )
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
    if not isinstance(content, dict):
        return []
    if "aiperf_version" not in content and not all(isinstance(content.get(name), dict) for name in _MARKS):
        return []
    config = content.get("input_config")
    of_aiperf = any(mark in content for mark in _AIPERF_MARKS) or (isinstance(config, dict) and "loadgen" in config)
    return _profile(content, AIPERF if of_aiperf else GENAI_PERF, file)


def parse_aiperf_csv(text: str, file: str) -> list[ImportedResult]:
    """Return the result of a file of percentiles with a line per metric; empty for another format.

    Raises UsageError for a wrong number.
    """
    if not re.match(r'\s*"?Metric"?,', text):
        return []
    content: dict[str, JsonValue] = {}
    heads, every = list[str](), set[str]()
    for row in csv_rows(text):
        if row and row[0] == "Metric":
            heads = ["avg" if head == "Value" else head.lower() for head in row]
            every.update(heads)
        elif row and (label := re.fullmatch(r"([A-Za-z ]+?)(?: \(([a-z/ ]+)\))?", row[0].strip())):
            values = {head: _csv_number(cell) for head, cell in zip(heads[1:], row[1:], strict=False) if cell.strip()}
            content[label[1].lower().replace(" ", "_")] = {"unit": label[2] or "", **values}
    if not all(name in content for name in _MARKS):
        return []
    return _profile(content, AIPERF if every & {"p1", "p5", "std"} else GENAI_PERF, file)


def _csv_number(cell: str) -> JsonValue:
    try:
        return float(cell.replace(",", ""))
    except ValueError:
        return None if cell.strip() in ("N/A", "nan", "") else cell


def _profile(content: dict[str, JsonValue], tool: Tool, file: str) -> list[ImportedResult]:
    version = content.get("aiperf_version")
    found = Profile.read(content, file=file, tool=tool, version=str(version) if version is not None else None)
    config = found.input_config or InputConfig()
    concurrency, tokens = config.planned_concurrency, found.value("total_output_tokens")
    completed = found.count("request_count")
    times: dict[str, Any] = {name: _distribution(getattr(found, its), its, completed) for name, its in _TIMES.items()}
    summary = reported_load(
        completed=completed,
        failed=found.count("error_request_count"),
        concurrency=concurrency,
        tokens=None if tokens is None else round(tokens),
        mean_tokens=found.value("output_sequence_length"),
        wall_s=found.value("benchmark_duration"),
        request_s=found.value("request_throughput"),
        output_tok_s_total=found.value("output_token_throughput"),
        percentile_rule="inclusive",  # numpy's default makes them
        warmup_requests=0 if config.phases and len(config.loads) == len(config.phases) else None,
        **times,
    )
    manifest = Manifest(
        clock=Clock(source="CLOCK_MONOTONIC"),
        endpoint=EndpointRecord(model=config.model_name),
        parameters={"concurrency": concurrency},
    )
    notes = NOTES if completed is not None else (*NOTES, "the number of requests is not reported")
    return [imported(tool, found.aiperf_version, summary, manifest=manifest, notes=notes)]


def _distribution(reported: TimeMetric | None, name: str, requests: int | None) -> Distribution:
    """Return a metric; all but the gaps between chunks have a value per request."""
    if reported is None:
        return Distribution()
    points = {"p50": reported.p50, "p90": reported.p90, "p99": reported.p99}
    n = requests if reported.count is None and name != "inter_chunk_latency" else reported.count
    return distribution(n, points, mean=reported.avg, scale=_SCALE[reported.unit])


def parse_aiperf_lines(lines: Sequence[JsonValue], file: str) -> list[ImportedResult]:
    """Return the result of a file of requests, each line parsed; empty for another format.

    The file does not report the planned concurrency, so there is no steady window. Raises UsageError for a wrong field.
    """
    if not lines or not all(isinstance(line, dict) and _has_start(line.get("metadata")) for line in lines):
        return []
    found = RequestLines.read({"lines": lines}, file=file, tool=AIPERF)
    rows = sorted(map(_row, found.lines), key=lambda row: row.sent_ns)
    gaps_known = any(row.gaps_s for row in rows)
    summary, requests = of_rows(rows, concurrency=None, gaps_known=gaps_known)
    manifest = Manifest(clock=Clock(source="CLOCK_MONOTONIC"))
    return [imported(AIPERF, None, summary, requests=requests, manifest=manifest, notes=NOTES)]


def _has_start(metadata: JsonValue) -> bool:
    return isinstance(metadata, dict) and bool({"request_start_ns", "timestamp_ns"} & metadata.keys())


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
