"""Read the JSON report of guidellm (`--output kind=json`), tried with 0.8.1."""

import json

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, ImportedRow, of_rows
from gptoss_bench.importers.tool_file import Count, Moment, Number, ToolFile
from gptoss_bench.runs import Clock, EndpointRecord, Manifest

TOOL = "guidellm"
NOTES = (
    "ITL, as it calls a request's mean, keeps no gap, so none is shown here",
    "TPOT is computed from its timestamps: what it names 'time per output token' includes the TTFT",
)


class Metadata(ToolFile):
    """The version of guidellm."""

    guidellm_version: str


class Backend(ToolFile):
    """The server that was measured."""

    target: str | None = None
    model: str | None = None


class Spec(ToolFile):
    """What guidellm was asked to do."""

    backend: Backend


class Config(ToolFile):
    """The configuration of all benchmarks."""

    spec: Spec


class Timings(ToolFile):
    """Moments of one request in seconds since 1970; None for one that did not come."""

    request_start: Moment | None = None
    first_token_iteration: Moment | None = None
    first_output_token_iteration: Moment | None = None
    last_token_iteration: Moment | None = None


class RequestInfo(ToolFile):
    """How a request went."""

    timings: Timings
    error: str | None = None


class Request(ToolFile):
    """One request; `request_args` is its body as JSON text."""

    info: RequestInfo
    request_args: str | None = None
    prompt_tokens: Count | None = None
    output_tokens: Count | None = None


class Requests(ToolFile):
    """The requests of one benchmark by their end."""

    successful: list[Request] | None = None
    errored: list[Request] | None = None
    incomplete: list[Request] | None = None


class Strategy(ToolFile):
    """The load of one benchmark; `streams` are the requests in flight, where they are planned."""

    streams: Count | None = None


class Warmup(ToolFile):
    """How much of a benchmark is a warm-up."""

    value: Number | None = None


class BenchmarkConfig(ToolFile):
    """The configuration of one benchmark."""

    strategy: Strategy
    warmup: Warmup | None = None


class Benchmark(ToolFile):
    """One load and its requests."""

    config: BenchmarkConfig
    requests: Requests


class Report(ToolFile):
    """The report on one or more benchmarks of one server."""

    metadata: Metadata
    config: Config
    benchmarks: list[Benchmark] = Field(min_length=1)


def parse_guidellm(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return one result per benchmark of a parsed report; empty for another format.

    Raises UsageError for a wrong field.
    """
    metadata = content.get("metadata") if isinstance(content, dict) else None
    if not isinstance(metadata, dict) or "guidellm_version" not in metadata:
        return []
    found = Report.read(content, file=file, tool=TOOL)
    return [_result(one, found.metadata.guidellm_version, found.config.spec.backend) for one in found.benchmarks]


def _result(one: Benchmark, version: str, backend: Backend) -> ImportedResult:
    streams, prompts = one.config.strategy.streams, dict[str, int]()
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
    summary, table = of_rows(rows, concurrency=streams, gaps_known=False)
    summary.warmup_requests = None if one.config.warmup and one.config.warmup.value else 0
    manifest = Manifest(
        clock=Clock(source="wall"),
        endpoint=EndpointRecord(url=backend.target, model=backend.model),
        parameters={"concurrency": streams},
    )
    return ImportedResult(TOOL, version, summary, table, manifest, NOTES)


def _row(request: Request, outcome: str, prompts: dict[str, int]) -> ImportedRow | None:
    """Return the row of a request, None where it was never sent."""
    timings = request.info.timings
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
        prompt_id=_prompt_id(request.request_args, prompts),
        outcome=outcome,
        failure="unnamed" if failed else None,
        error=str(request.info.error) if failed else None,
    )


def _prompt_id(arguments: str | None, prompts: dict[str, int]) -> int | None:
    """Return the same number for the same messages, None where they are unknown."""
    try:
        messages = json.dumps(json.loads(arguments or "")["body"]["messages"])
    except (ValueError, KeyError, TypeError, RecursionError):
        return None
    return prompts.setdefault(messages, len(prompts))
