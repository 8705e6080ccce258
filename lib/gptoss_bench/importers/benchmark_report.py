"""Read and write llm-d's Benchmark Report: the YAML or JSON of one load, in the units that it states.

The records are the parts of its schema that this kit reads and writes; a report has many more, which are left out. The
names of times are those of the tool that measured, so that they mean what they mean there.
"""

import hashlib
import json
import math
from datetime import datetime
from typing import Annotated, Self

import numpy as np
import numpy.typing as npt
import yaml
from pydantic import BeforeValidator, Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, distribution, imported, reported_load
from gptoss_bench.importers.inference_perf import NOTES as INFERENCE_PERF_NOTES
from gptoss_bench.importers.serving_bench import VLLM_NOTES
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Number, Tool, ToolFile
from gptoss_bench.runs import (
    REMOTE_LABEL,
    Distribution,
    EndpointRecord,
    InstalledGpu,
    LoadSummary,
    Manifest,
    Run,
    number_at,
    run_caption,
)
from gptoss_bench.stats import REPORTED_PERCENTILES, measured_rows, non_null, percentile
from gptoss_bench.validation import OneOf
from gptoss_client import UsageError

TOOL = Tool("llm-d Benchmark Report", "versions 0.2 and 0.2.1")
WRITTEN_VERSION = "0.2.1"
THIS_KIT = "gptoss-bench"
NOTES_BY_TOOL = {"vllm-benchmark": VLLM_NOTES, "inference-perf": INFERENCE_PERF_NOTES}
ONE_TOKEN = 1.1  # tokens of an event up to which a gap between events is a time of one token
Floats = npt.NDArray[np.float64]
_SECONDS = {"s": 1.0, "ms": 1e-3, "s/token": 1.0, "ms/token": 1e-3}
_MARKS = frozenset({"version", "run", "results"})
_MARKS_0_1 = frozenset({"version", "scenario", "metrics"})


class Statistics(ToolFile):
    """The mean of one quantity, its extremes and its percentiles."""

    units: str
    mean: MaybeNumber = None
    min: MaybeNumber = None
    p50: MaybeNumber = None
    p90: MaybeNumber = None
    p99: MaybeNumber = None
    max: MaybeNumber = None

    @classmethod
    def of(cls, found: Distribution, units: str) -> Self | None:
        """Return a distribution of the summary, without the percentiles that are not resolved; None without a mean."""
        if found.mean is None:
            return None
        points = {at: found.at(at) for at in REPORTED_PERCENTILES if found.resolved.at(at)}
        return cls(units=units, mean=found.mean, **points)

    @classmethod
    def of_values(cls, values: Floats, units: str) -> Self | None:
        """Return the statistics of values, without the percentiles that are not resolved; None without a value."""
        if not len(values):
            return None
        found = {at: percentile(values, p) for at, p in REPORTED_PERCENTILES.items()}
        points = {at: one.value for at, one in found.items() if one.resolved}
        least, most = float(values.min()), float(values.max())
        return cls(units=units, mean=float(values.mean()), min=least, max=most, **points)

    def distribution(self, n: int | None) -> Distribution:
        """Return mean and percentiles of `n` values, times in seconds."""
        points = {at: getattr(self, at) for at in REPORTED_PERCENTILES}
        return distribution(n, points, mean=self.mean, scale=_SECONDS[self.units])


class Times(Statistics):
    """A time of a request."""

    units: Annotated[str, OneOf(("s", "ms"))]


class TokenTimes(Statistics):
    """A time of a token."""

    units: Annotated[str, OneOf(("s/token", "ms/token"))]


class TokenRates(Statistics):
    """A rate of tokens."""

    units: Annotated[str, OneOf(("tokens/s",))]


class RequestRates(Statistics):
    """A rate of requests."""

    units: Annotated[str, OneOf(("queries/s",))]


class Lengths(Statistics):
    """A number of tokens."""

    units: Annotated[str, OneOf(("count",))]


class Requests(ToolFile):
    """How many requests were sent (`total`), and how many of them failed or did not end."""

    total: Count
    failures: Count | None = None
    incomplete: Count | None = None
    input_length: Lengths | None = None
    output_length: Lengths | None = None


class Latency(ToolFile):
    """Times of completed requests."""

    time_to_first_token: Times | None = None
    normalized_time_per_output_token: TokenTimes | None = None
    time_per_output_token: TokenTimes | None = None
    inter_token_latency: TokenTimes | None = None
    request_latency: Times | None = None


class Throughput(ToolFile):
    """Rates over the whole load, as means."""

    input_token_rate: TokenRates | None = None
    output_token_rate: TokenRates | None = None
    total_token_rate: TokenRates | None = None
    request_rate: RequestRates | None = None


class Aggregate(ToolFile):
    """What was measured of all requests together."""

    requests: Requests | None = None
    latency: Latency | None = None
    throughput: Throughput | None = None


class RequestPerformance(ToolFile):
    """What the client measured."""

    aggregate: Aggregate | None = None


class Results(ToolFile):
    """The results."""

    request_performance: RequestPerformance | None = None


class Named(ToolFile):
    """A model, or an accelerator with the number of them that were used."""

    name: str | None = None
    model: str | None = None
    count: Count | None = None


class StandardComponent(ToolFile):
    """A part of the serving stack; `kind` generic where not all that is required of an engine is known."""

    kind: str | None = None
    tool: str | None = None
    tool_version: str | None = None
    quantisation: str | None = None
    model: Named | JsonValue = Field(default=None, union_mode="left_to_right")
    accelerator: Named | JsonValue = Field(default=None, union_mode="left_to_right")


class Metadata(ToolFile):
    """The name of a component, and a hash of its configuration."""

    label: str | None = None
    cfg_id: str | None = None


class Native(ToolFile):
    """A configuration under the names of its tool."""

    config: JsonValue = None


class Component(ToolFile):
    """A component of the serving stack."""

    metadata: Metadata = Metadata()
    standardized: StandardComponent = StandardComponent()
    native: Native = Native()


class SequenceLength(ToolFile):
    """A planned number of tokens of a request."""

    distribution: str = "other"
    value: Number
    min: Count | None = None
    max: Count | None = None


def _limited(value: object) -> object:
    """Return None for infinity, with which a report says that there is no limit."""
    return None if isinstance(value, float) and math.isinf(value) else value


class StandardLoad(ToolFile):
    """The load; `rate_qps` where requests were due at times of their own."""

    tool: str | None = None
    tool_version: str | None = None
    source: str = "unknown"
    input_seq_len: SequenceLength | None = None
    output_seq_len: SequenceLength | None = None
    rate_qps: Annotated[MaybeNumber, BeforeValidator(_limited)] = None
    concurrency: Annotated[Count | None, BeforeValidator(_limited)] = None


class Load(ToolFile):
    """The load, under common names and under those of its tool."""

    metadata: Metadata = Metadata()
    standardized: StandardLoad = StandardLoad()
    native: Native = Native()


class Scenario(ToolFile):
    """What was measured: the serving stack and the load."""

    stack: list[Component] | None = None
    load: Load | None = None


class RunTime(ToolFile):
    """Begin and end in ISO format."""

    start: str | None = None
    end: str | None = None


class RunDetails(ToolFile):
    """The id of the report, that of its experiment, and when it was measured."""

    uid: str
    eid: str | None = None
    time: RunTime | None = None
    description: str | None = None
    keywords: list[str] | None = None


class BenchmarkReport(ToolFile):
    """The content of a report."""

    version: str
    run: RunDetails
    scenario: Scenario | None = None
    results: Results


def parse_benchmark_report(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of a parsed report; empty for another format.

    Raises UsageError for a wrong field, or a version that this kit does not read.
    """
    if not isinstance(content, dict) or not any(marks <= content.keys() for marks in (_MARKS, _MARKS_0_1)):
        return []
    version = content["version"]
    if not isinstance(version, str) or version not in ("0.2", WRITTEN_VERSION):
        raise UsageError(f"{file}: version is {version!r}; this kit reads {TOOL.name}, {TOOL.versions_read}")
    found = BenchmarkReport.read(content, file=file, tool=TOOL, version=version)
    aggregate = (found.results.request_performance or RequestPerformance()).aggregate or Aggregate()
    requests, rates, times = aggregate.requests, aggregate.throughput or Throughput(), aggregate.latency or Latency()
    load = (found.scenario or Scenario()).load or Load()
    total = requests.total if requests else None
    failed, incomplete = (requests.failures, requests.incomplete) if requests else (None, None)
    completed = None if total is None else max(total - (failed or 0) - (incomplete or 0), 0)
    output = requests.output_length if requests else None
    summary = reported_load(
        completed=completed,
        failed=failed,
        cancelled=incomplete or 0,
        asked=total,
        concurrency=load.standardized.concurrency,
        mean_tokens=output.mean if output else None,
        request_s=_mean(rates.request_rate),
        output_tok_s_total=_mean(rates.output_token_rate),
        input_tok_s=_mean(rates.input_token_rate),
        total_tok_s=_mean(rates.total_token_rate),
        ttft_s=_distribution(times.time_to_first_token, completed),
        tpot_s=_distribution(times.time_per_output_token, completed),
        itl_s=_distribution(times.inter_token_latency, None),  # the number of gaps is not reported
        done_s=_distribution(times.request_latency, completed),
    )
    tool = load.standardized.tool
    if tool == THIS_KIT:
        summary.percentile_rule = "inclusive"
    notes = list(NOTES_BY_TOOL.get(tool or "", ()))
    if tool and tool != THIS_KIT:
        version_of_tool = load.standardized.tool_version
        notes.append(f"the times are those of {' '.join(filter(None, (tool, version_of_tool)))}")
    if requests and requests.failures is None:
        notes.append("failed requests are not reported")
    return [imported(TOOL, version, summary, manifest=_manifest(found, load.standardized), notes=notes)]


def parse_benchmark_report_yaml(text: str, file: str) -> list[ImportedResult]:
    """Return the result of a report in YAML; empty for another text. Raises UsageError as for one in JSON."""
    lines = text.splitlines()
    if not all(any(line.startswith(f"{mark}:") for line in lines) for mark in ("version", "scenario")):
        return []
    try:
        content = json.loads(json.dumps(yaml.safe_load(text), default=_as_text))
    except (yaml.YAMLError, ValueError, TypeError, RecursionError):
        return []
    return parse_benchmark_report(content, file)


def _as_text(value: object) -> str:
    """Return a time that YAML read as one in ISO format again."""
    return value.isoformat() if isinstance(value, datetime) else str(value)


def _mean(statistics: Statistics | None) -> float | None:
    return statistics.mean if statistics else None


def _distribution(statistics: Statistics | None, n: int | None) -> Distribution:
    return statistics.distribution(n) if statistics else Distribution()


def _manifest(found: BenchmarkReport, load: StandardLoad) -> Manifest:
    stack = [one.standardized for one in (found.scenario or Scenario()).stack or []]
    serving = [one for one in stack if isinstance(one.model, Named)]
    engine = serving[0] if serving else StandardComponent()
    model = engine.model.name if isinstance(engine.model, Named) else None
    cards = [one.accelerator for one in serving if isinstance(one.accelerator, Named)]
    names = dict.fromkeys(f"{card.count} × {card.model}" if (card.count or 1) > 1 else card.model for card in cards)
    time, keywords = found.run.time or RunTime(), found.run.keywords or []
    return Manifest(
        endpoint=EndpointRecord(
            engine=engine.tool or None,
            version=engine.tool_version or None,
            model=model or None,
            quantisation=engine.quantisation,
        ),
        gpus=[InstalledGpu(name=name) for name in names if name] or None,
        labels=keywords if load.tool == THIS_KIT else [],
        parameters={} if load.rate_qps is None else {"request_rate": load.rate_qps},
        start_utc=time.start,
        end_utc=time.end,
    )


def write_benchmark_report(run: Run) -> str:
    """Return the Benchmark Report 0.2.1 of a run with a measured load, as YAML.

    What the run does not know is absent, and so is a percentile with fewer than 10 samples beyond it. A component whose
    version is unknown, and a load whose prompts were not counted, are absent, because the schema requires them. Gaps
    between events are given as times of a token only where an event has one. Raises UsageError for a run without a
    measured load.
    """
    manifest, summary = run.manifest, run.load_summary
    rows = measured_rows(run.requests)
    done = rows[rows["outcome"] == "completed"]
    prompts, answers = non_null(done["prompt_tokens"]), non_null(done["completion_tokens"])
    # The rates are of the completed requests, so they need a count of every one of them.
    prompt_tokens = float(prompts.sum()) if len(prompts) == len(done) else None
    input_rate = prompt_tokens / summary.wall_s if prompt_tokens and summary.wall_s else None
    output_rate = summary.output_tok_s_total
    per_token = non_null(done["done_s"] / done["completion_tokens"].where(done["completion_tokens"] > 0))
    single = summary.tokens_per_event is not None and summary.tokens_per_event <= ONE_TOKEN
    report = BenchmarkReport(
        version=WRITTEN_VERSION,
        run=RunDetails(
            uid=manifest.run_id,
            eid=manifest.repeat_group,
            time=RunTime(start=manifest.start_utc, end=manifest.end_utc),
            description=run_caption(manifest),
            keywords=manifest.labels or None,
        ),
        scenario=Scenario(stack=_stack(manifest), load=_load(manifest, summary, prompts)),
        results=Results(
            request_performance=RequestPerformance(
                aggregate=Aggregate(
                    requests=Requests(
                        total=summary.requests,
                        failures=summary.failed,
                        incomplete=summary.cancelled + (summary.lost or 0),
                        input_length=Lengths.of_values(prompts, "count"),
                        output_length=Lengths.of_values(answers, "count"),
                    ),
                    latency=Latency(
                        time_to_first_token=Times.of(summary.ttft_s, "s"),
                        normalized_time_per_output_token=TokenTimes.of_values(per_token, "s/token"),
                        time_per_output_token=TokenTimes.of(summary.tpot_s, "s/token"),
                        inter_token_latency=TokenTimes.of(summary.itl_s, "s/token") if single else None,
                        request_latency=Times.of(summary.done_s, "s"),
                    ),
                    throughput=Throughput(
                        input_token_rate=_rate(input_rate),
                        output_token_rate=_rate(output_rate),
                        total_token_rate=_rate(input_rate + output_rate if input_rate and output_rate else None),
                        request_rate=None
                        if summary.request_s is None
                        else RequestRates(units="queries/s", mean=summary.request_s),
                    ),
                )
            )
        ),
    )
    return str(yaml.safe_dump(report.model_dump(exclude_none=True), sort_keys=False, allow_unicode=True))


def _rate(mean: float | None) -> TokenRates | None:
    return None if mean is None else TokenRates(units="tokens/s", mean=mean)


def _stack(manifest: Manifest) -> list[Component] | None:
    """Return the measured server; an engine has required fields, such as its replicas, that no client can see."""
    server = manifest.server
    if not server.engine or not server.version:
        return None
    gpus = manifest.gpus or []
    here = REMOTE_LABEL not in manifest.labels and len({gpu.name for gpu in gpus}) == 1
    cards = number_at(server.facts, "tensor_parallel") or (1 if len(gpus) == 1 else None)
    native = Native(config={**server.facts} or None)
    standardized = StandardComponent(
        kind="generic",
        tool=server.engine,
        tool_version=server.version,
        quantisation=server.quantisation,
        model=Named(name=server.model) if server.model else None,
        accelerator=Named(model=gpus[0].name, count=None if cards is None else int(cards)) if here else None,
    )
    hashed = json.dumps([standardized.model_dump(), native.model_dump()], sort_keys=True)
    metadata = Metadata(label=server.engine, cfg_id=hashlib.sha256(hashed.encode()).hexdigest()[:32])
    return [Component(metadata=metadata, standardized=standardized, native=native)]


def _load(manifest: Manifest, summary: LoadSummary, prompts: Floats) -> Load | None:
    """Return the load, None where a required field is unknown. An output length counts as planned only if enforced."""
    given = manifest.parameters
    if not len(prompts) or manifest.code.version is None:
        return None
    least, most = int(prompts.min()), int(prompts.max())
    cap = number_at(given, "max_tokens") if given.get("ignore_eos") is True else None
    standardized = StandardLoad(
        tool=THIS_KIT,
        tool_version=manifest.code.version,
        input_seq_len=SequenceLength(
            distribution="fixed" if least == most else "other", value=float(prompts.mean()), min=least, max=most
        ),
        output_seq_len=None if cap is None else SequenceLength(distribution="fixed", value=cap),
        rate_qps=summary.rate_planned or None,
        concurrency=summary.concurrency_planned,
    )
    return Load(standardized=standardized, native=Native(config=given))
