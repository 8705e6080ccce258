"""Read the JSON report of guidellm: 0.2 and 0.3 (flat requests), 0.4 to 0.7 (`args`), and 0.8 (`config.spec`)."""

import json
from typing import Any

from pydantic import AliasChoices, Field, JsonValue

from gptoss_bench.importers.imported_result import (
    ImportedResult,
    ImportedRow,
    ImportedSummary,
    distribution,
    imported,
    of_rows,
    reported_load,
)
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Moment, Number, Tool, ToolFile
from gptoss_bench.runs import Clock, Distribution, EndpointRecord, Manifest

TOOL = Tool("guidellm", "reports of 0.2 to 0.8.1")
NOTES = (
    "ITL, as it calls a request's mean, keeps no gap, so none is shown here",
    "TPOT is computed from its timestamps: what it names 'time per output token' includes the TTFT",
)
REPORTED_NOTE = "the report holds the times of a part of its requests: the percentiles are those that guidellm reports"


def _names(*names: str) -> Any:
    """Return a field without a value that has these names in the versions, the newest first."""
    return Field(None, validation_alias=AliasChoices(*names))


class Metadata(ToolFile):
    """The version of guidellm; absent before 0.5."""

    guidellm_version: str | None = None


class Backend(ToolFile):
    """The server that was measured."""

    target: str | None = _names("target", "backend_target")
    model: str | None = _names("model", "backend_model")


class Spec(ToolFile):
    """What guidellm was asked to do."""

    backend: Backend | None = None


class Config(ToolFile):
    """The configuration of all benchmarks."""

    spec: Spec | None = None


class Timings(ToolFile):
    """Moments of one request in seconds since 1970; None for one that did not come."""

    request_start: Moment | None = _names("request_start", "start_time")
    first_token_iteration: Moment | None = _names("first_token_iteration", "first_iteration", "first_token_time")
    first_output_token_iteration: Moment | None = None
    last_token_iteration: Moment | None = _names("last_token_iteration", "last_iteration", "last_token_time")


class RequestInfo(ToolFile):
    """How a request went."""

    timings: Timings
    error: str | None = None


class Request(Timings):
    """One request; `request_args` is its body as JSON text. Before 0.4 its moments are in it, later in `info`."""

    info: RequestInfo | None = None
    request_args: str | None = None
    prompt: str | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None
    error: str | None = None

    @property
    def timings(self) -> Timings:
        """Return the moments of this request."""
        return self.info.timings if self.info else self


class Requests(ToolFile):
    """The requests of one benchmark by their end."""

    successful: list[Request] | None = None
    errored: list[Request] | None = None
    incomplete: list[Request] | None = None


class Totals(ToolFile):
    """The number of requests of one benchmark by their end."""

    successful: Count
    errored: Count = 0
    incomplete: Count = 0


class Points(ToolFile):
    """Percentiles of one metric."""

    p50: MaybeNumber = None
    p90: MaybeNumber = None
    p99: MaybeNumber = None


class Statistics(ToolFile):
    """One metric over the requests that ended in one way."""

    mean: MaybeNumber = None
    count: Count | None = None
    total_sum: MaybeNumber = None
    percentiles: Points = Points()


class Metric(ToolFile):
    """One metric over completed requests."""

    successful: Statistics | None = None


class Metrics(ToolFile):
    """What guidellm reports of one benchmark."""

    request_totals: Totals | None = None
    requests_per_second: Metric | None = None
    output_tokens_per_second: Metric | None = None
    output_token_count: Metric | None = None
    request_latency: Metric | None = None
    time_to_first_token_ms: Metric | None = None
    inter_token_latency_ms: Metric | None = None

    def statistics(self, name: str) -> Statistics:
        """Return a metric over completed requests, without values where it was not written."""
        metric: Metric | None = getattr(self, name)
        return (metric and metric.successful) or Statistics()


class Strategy(ToolFile):
    """The load of one benchmark; `streams` are the requests in flight, where they are planned."""

    type_: str | None = None
    streams: Count | None = None


class Warmup(ToolFile):
    """How much of a benchmark is a warm-up."""

    value: Number | None = None


class BenchmarkConfig(ToolFile):
    """The configuration of one benchmark; `args` before 0.4."""

    strategy: Strategy = Strategy()
    warmup: Warmup | Number | None = None
    warmup_number: Number | None = None
    warmup_duration: Number | None = None

    @property
    def warms_up(self) -> bool:
        """Return whether requests were left out at the beginning."""
        parts = (self.warmup.value if isinstance(self.warmup, Warmup) else self.warmup, self.warmup_number)
        return any((*parts, self.warmup_duration))


class Benchmark(ToolFile):
    """One load and its requests."""

    config: BenchmarkConfig = Field(validation_alias=AliasChoices("config", "args"))
    worker: Backend | None = None
    requests: Requests = Requests()
    metrics: Metrics = Metrics()
    duration: MaybeNumber = None


class Report(ToolFile):
    """The report on one or more benchmarks of one server."""

    metadata: Metadata = Metadata()
    config: Config = Config()
    args: Backend | None = None
    benchmarks: list[Benchmark] = Field(min_length=1)


def parse_guidellm(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return one result per benchmark of a parsed report; empty for another format.

    Raises UsageError for a wrong field.
    """
    if not isinstance(content, dict):
        return []
    metadata, benchmarks = content.get("metadata"), content.get("benchmarks")
    version = metadata.get("guidellm_version") if isinstance(metadata, dict) else None
    first = benchmarks[0] if isinstance(benchmarks, list) and benchmarks else None
    if version is None and not (isinstance(first, dict) and first.get("type_") == "generative_benchmark"):
        return []
    found = Report.read(content, file=file, tool=TOOL, version=str(version) if version is not None else None)
    return [_result(one, found) for one in found.benchmarks]


def _result(one: Benchmark, report: Report) -> ImportedResult:
    backend = (report.config.spec and report.config.spec.backend) or report.args or one.worker or Backend()
    strategy, prompts = one.config.strategy, dict[str, int]()
    streams = 1 if strategy.type_ == "synchronous" else strategy.streams
    by_outcome = {
        "completed": one.requests.successful,
        "failed": one.requests.errored,
        "cancelled": one.requests.incomplete,
    }
    rows = [
        row
        for outcome, requests in by_outcome.items()
        for request in requests or ()
        if (row := _row(request, outcome, prompts)) is not None
    ]
    rows.sort(key=lambda row: row.sent_ns)
    totals, table, notes = one.metrics.request_totals, None, NOTES
    if totals and totals.successful > len(one.requests.successful or ()):  # it keeps a sample of the requests only
        summary, notes = _reported(one, totals, streams), (*NOTES[:1], REPORTED_NOTE)
    else:
        summary, table = of_rows(rows, concurrency=streams, gaps_known=False)
    summary.warmup_requests = None if one.config.warms_up else 0
    manifest = Manifest(
        clock=Clock(source="wall"),
        endpoint=EndpointRecord(url=backend.target, model=backend.model),
        parameters={"concurrency": streams},
    )
    return imported(TOOL, report.metadata.guidellm_version, summary, requests=table, manifest=manifest, notes=notes)


def _reported(one: Benchmark, totals: Totals, streams: int | None) -> ImportedSummary:
    found, tokens = one.metrics, one.metrics.statistics("output_token_count")
    return reported_load(
        completed=totals.successful,
        failed=totals.errored,
        cancelled=totals.incomplete,
        concurrency=streams,
        tokens=None if tokens.total_sum is None else round(tokens.total_sum),
        mean_tokens=tokens.mean,
        wall_s=one.duration,
        request_s=found.statistics("requests_per_second").mean,
        output_tok_s_total=found.statistics("output_tokens_per_second").mean,
        percentile_rule=None,
        ttft_s=_distribution(found.statistics("time_to_first_token_ms"), 1e-3),
        tpot_s=_distribution(found.statistics("inter_token_latency_ms"), 1e-3),  # of a request: (last - first)/(n - 1)
        done_s=_distribution(found.statistics("request_latency"), 1.0),
    )


def _distribution(reported: Statistics, scale: float) -> Distribution:
    points = {at: getattr(reported.percentiles, at) for at in ("p50", "p90", "p99")}
    return distribution(reported.count, points, mean=reported.mean, scale=scale)


def _row(request: Request, outcome: str, prompts: dict[str, int]) -> ImportedRow | None:
    """Return the row of a request, None where it was never sent."""
    timings = request.timings
    start, first, last = timings.request_start, timings.first_token_iteration, timings.last_token_iteration
    answer = timings.first_output_token_iteration
    if start is None:
        return None
    failed = outcome == "failed"
    return ImportedRow(
        sent_ns=round(start * 1e9),
        ttft_s=None if first is None else first - start,
        ttfa_s=None if answer is None else answer - start,
        e2e_s=None if last is None or outcome != "completed" else last - start,
        prompt_tokens=request.prompt_tokens,
        completion_tokens=request.output_tokens,
        prompt_id=_prompt_id(request, prompts),
        outcome=outcome,
        failure="unnamed" if failed else None,
        error=str(request.info.error if request.info else request.error) if failed else None,
    )


def _prompt_id(request: Request, prompts: dict[str, int]) -> int | None:
    """Return the same number for the same messages, None where they are unknown."""
    prompt = request.prompt
    if prompt is None:
        try:
            prompt = json.dumps(json.loads(request.request_args or "")["body"]["messages"])
        except (ValueError, KeyError, TypeError, RecursionError):
            return None
    return prompts.setdefault(prompt, len(prompts))
