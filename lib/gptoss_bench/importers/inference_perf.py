"""Read summary_lifecycle_metrics.json and the stage files of inference-perf; times in seconds."""

from pydantic import JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, distribution, imported, reported_load
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Tool, ToolFile
from gptoss_bench.runs import Distribution

TOOL = Tool("inference-perf", "files since 2025-11 up to 0.7.0")
_MARKS = frozenset({"load_summary", "successes", "failures"})
NOTES = (
    "TTFT is to the first token of the answer: reasoning before it is not seen",
    "ITL is made from the chunks, whose tokens it counts again",
)


class Statistics(ToolFile):
    """One quantity of all completed requests."""

    mean: MaybeNumber = None
    median: MaybeNumber = None
    p90: MaybeNumber = None
    p99: MaybeNumber = None

    def distribution(self, n: int | None) -> Distribution:
        """Return mean and percentiles of `n` values."""
        return distribution(n, {"p50": self.median, "p90": self.p90, "p99": self.p99}, mean=self.mean)


class Latency(ToolFile):
    """Times of completed requests; those of tokens are None without streaming."""

    request_latency: Statistics | None = None
    time_per_output_token: Statistics | None = None
    time_to_first_token: Statistics | None = None
    inter_token_latency: Statistics | None = None


class Throughput(ToolFile):
    """Rates of completed requests and of their tokens."""

    input_tokens_per_sec: MaybeNumber = None
    output_tokens_per_sec: MaybeNumber = None
    total_tokens_per_sec: MaybeNumber = None
    requests_per_sec: MaybeNumber = None


class Successes(ToolFile):
    """What is reported of completed requests."""

    count: Count
    latency: Latency | None = None
    throughput: Throughput | None = None
    output_len: Statistics | None = None


class Failures(ToolFile):
    """What is reported of failed requests."""

    count: Count


class LoadSummary(ToolFile):
    """The load; `concurrency` where requests in flight were planned."""

    count: Count | None = None
    concurrency: Count | None = None


class Lifecycle(ToolFile):
    """The content of a file."""

    load_summary: LoadSummary
    successes: Successes
    failures: Failures


def parse_inference_perf(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of a parsed file; empty for another format. Raises UsageError for a wrong field."""
    if not isinstance(content, dict) or len(_MARKS & content.keys()) < len(_MARKS) - 1:
        return []
    found = Lifecycle.read(content, file=file, tool=TOOL)
    n, latency = found.successes.count, found.successes.latency or Latency()
    rates, nothing = found.successes.throughput or Throughput(), Statistics()
    summary = reported_load(
        completed=n,
        failed=found.failures.count,
        asked=found.load_summary.count,
        concurrency=found.load_summary.concurrency,
        mean_tokens=found.successes.output_len.mean if found.successes.output_len else None,
        request_s=rates.requests_per_sec,
        output_tok_s_total=rates.output_tokens_per_sec,
        input_tok_s=rates.input_tokens_per_sec,
        total_tok_s=rates.total_tokens_per_sec,
        ttft_s=(latency.time_to_first_token or nothing).distribution(n),
        itl_s=(latency.inter_token_latency or nothing).distribution(None),
        tpot_s=(latency.time_per_output_token or nothing).distribution(n),
        done_s=(latency.request_latency or nothing).distribution(n),
    )
    return [imported(TOOL, None, summary, notes=NOTES)]
