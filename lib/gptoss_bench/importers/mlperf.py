"""Read result_summary.json of MLPerf Endpoints, and mlperf_log_summary.txt of MLPerf LoadGen; times in ns."""

import re
from collections.abc import Mapping
from typing import Any

from pydantic import Field, JsonValue

from gptoss_bench.importers.imported_result import ImportedResult, distribution, imported, reported_load
from gptoss_bench.importers.tool_file import Count, MaybeNumber, Number, Tool, ToolFile
from gptoss_bench.runs import Distribution, Manifest
from gptoss_client import NS_PER_S

ENDPOINTS = Tool("MLPerf Endpoints", "summaries of 2026-08")
LOADGEN = Tool("MLPerf LoadGen", "log summaries with token latencies, up to 6.0")
_MARKS = frozenset({"n_samples_issued", "n_samples_completed", "n_samples_failed"})
_HEADER = "MLPerf Results Summary"
_PERCENTILES = {"p50": ("50", "50.0"), "p90": ("90", "90.0"), "p99": ("99", "99.0")}
_LINE = re.compile(r"(?m)^[ \t]*([^:\n]*[^:\s])[ \t]*:[ \t]*(\S+)[ \t]*$")
# LoadGen writes the mean with capitals and the percentiles without, and TPOT in two ways.
_LOADGEN_TIMES = {
    "done_s": ("latency",),
    "ttft_s": ("first token latency",),
    "tpot_s": ("time to output token", "time per output token"),
}


class Series(ToolFile):
    """One quantity of all completed samples; empty where it was not measured."""

    avg: MaybeNumber = None
    total: MaybeNumber = None
    percentiles: dict[str, MaybeNumber] = Field(default_factory=dict)

    def distribution(self, n: int) -> Distribution:
        """Return mean and percentiles in seconds."""
        points = {
            at: next((value for name in names if (value := self.percentiles.get(name)) is not None), None)
            for at, names in _PERCENTILES.items()
        }
        return distribution(n, points, mean=self.avg, scale=1 / NS_PER_S)


class Summary(ToolFile):
    """The content of result_summary.json."""

    version: str | None = None
    n_samples_issued: Count
    n_samples_completed: Count
    n_samples_failed: Count
    duration_ns: Number | None = None
    legacy_loadgen_window_duration_ns: Number | None = None
    ttft: Series | None = None
    tpot: Series | None = None
    latency: Series | None = None
    output_sequence_lengths: Series | None = None
    qps: MaybeNumber = None
    tps: MaybeNumber = None


class LogSummary(ToolFile):
    """The numbers of mlperf_log_summary.txt by their labels, in lower case."""

    numbers: dict[str, Number]


def parse_mlperf_endpoints(content: JsonValue, file: str) -> list[ImportedResult]:
    """Return the result of a parsed file; empty for another format. Raises UsageError for a wrong field."""
    if not isinstance(content, dict) or len(_MARKS & content.keys()) < len(_MARKS) - 1:
        return []
    version = content.get("version")
    found = Summary.read(content, file=file, tool=ENDPOINTS, version=str(version) if version is not None else None)
    n, lengths = found.n_samples_completed, found.output_sequence_lengths or Series()
    window_ns = found.legacy_loadgen_window_duration_ns
    duration_ns = found.duration_ns if window_ns is None else window_ns
    summary = reported_load(
        completed=n,
        failed=found.n_samples_failed,
        asked=found.n_samples_issued,
        tokens=None if lengths.total is None else round(lengths.total),
        mean_tokens=lengths.avg,
        wall_s=None if duration_ns is None else duration_ns / NS_PER_S,
        request_s=found.qps,
        output_tok_s_total=found.tps,
        ttft_s=(found.ttft or Series()).distribution(n),
        tpot_s=(found.tpot or Series()).distribution(n),
        done_s=(found.latency or Series()).distribution(n),
    )
    notes = ["TTFT and latency begin when a sample is issued: the way to the sending process is in them"]
    if window_ns is not None:
        notes.append("rates are over the time to the end of the request that was issued last, as LoadGen takes them")
    return [imported(ENDPOINTS, found.version, summary, notes=notes)]


def parse_mlperf_loadgen(text: str, file: str) -> list[ImportedResult]:
    """Return the result of a log summary; empty for other text. Raises UsageError for a number that is too large."""
    if _HEADER not in text:
        return []
    lines = {label.lower(): words for label, words in _LINE.findall(text.split(_HEADER, 1)[1])}
    numbers = {label: float(words) for label, words in lines.items() if re.fullmatch(r"[0-9]+(\.[0-9]+)?", words)}
    found = LogSummary.read({"numbers": numbers}, file=file, tool=LOADGEN).numbers
    times: dict[str, Any] = {name: _times(found, words) for name, words in _LOADGEN_TIMES.items()}
    summary = reported_load(
        completed=None,
        request_s=_first(found, ("completed samples per second", "samples per second")),
        output_tok_s_total=_first(found, ("completed tokens per second", "tokens per second")),
        **times,
    )
    notes = ["the number of requests is not reported"]
    if (result := lines.get("result is")) and result != "VALID":
        notes.append(f"LoadGen calls this result {result}")
    manifest = Manifest(parameters={"scenario": lines.get("scenario")})
    return [imported(LOADGEN, None, summary, manifest=manifest, notes=notes)]


def _times(found: Mapping[str, float], words: tuple[str, ...]) -> Distribution:
    points = {f"p{at}": _first(found, [f"{at}.00 percentile {word} (ns)" for word in words]) for at in (50, 90, 99)}
    mean = _first(found, [f"mean {word} (ns)" for word in words])
    return distribution(None, points, mean=mean, scale=1 / NS_PER_S)


def _first(found: Mapping[str, float], labels: "tuple[str, ...] | list[str]") -> float | None:
    return next((found[label] for label in labels if label in found), None)
