"""Run a load tool against the reference server, level by level, and write what its numbers are worth."""

import os
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import pandas as pd
from pydantic import Field

from gptoss_bench.calibration.accuracy import TRUSTED_ERROR_SHARE, match_events
from gptoss_bench.calibration.certification.reports import ToolReport, find_report
from gptoss_bench.calibration.certification.truth import (
    FIRST_EVENTS,
    first_event,
    match_by_ids,
    match_by_time,
    true_gaps_s,
    true_streams,
)
from gptoss_bench.calibration.process_cost import Cost, run_tree
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log, server_lateness_ms
from gptoss_bench.calibration.reference.stream import MODEL
from gptoss_bench.runs import Distribution, ErrorSpread, Machine, Record, machine_facts
from gptoss_bench.stats import non_null, percentile
from gptoss_client import API_KEY_VARIABLE, RunFailed, UsageError

PLACEHOLDERS = ("{url}", "{model}", "{streams}", "{requests}", "{tokens}", "{out}")
# The role chunk is sent at once, and a quarter of the tokens is reasoning: so a TTFT shows where it ends.
CERTIFIED_PLAN = ReferencePlan(ttft_s=0.2, itl_s=0.025, tokens=40, role="early", reasoning="both", reasoning_share=0.25)
OUTPUT_CHARACTERS = 300  # of the end of a failed tool's output
EACH_REQUEST, EACH_GAP, PERCENTILES = "each request", "each gap", "its percentiles"


@dataclass(frozen=True, slots=True)
class CertifiedTool:
    """The command line of a tool, with PLACEHOLDERS, and where it writes its result (None: look for new files).

    A level has `streams` requests in flight and `waves` times as many requests. Raises UsageError if the command
    cannot be run as asked.
    """

    command: tuple[str, ...]
    levels: tuple[int, ...] = (8, 64, 256)
    waves: int = 3
    result: str | None = None
    limit_s: float = 300.0
    plan: ReferencePlan = field(default=CERTIFIED_PLAN)

    def __post_init__(self) -> None:
        """Raise UsageError if a value is not valid."""
        if not self.command:
            raise UsageError("name the tool after --, such as: certify -- my-tool --url {url}")
        if not any("{url}" in word for word in self.command):
            raise UsageError("the command has no {url}, the address of the reference server: write it where it belongs")
        if not self.levels or min(self.levels) < 1 or self.waves < 1:
            raise UsageError(f"levels and waves must be 1 or more, not {list(self.levels)} and {self.waves}")
        if len(self.levels) > 1 and not any("{streams}" in word for word in self.command):
            raise UsageError(
                "the command has no {streams}, so all levels would be the same load: write it, or one level"
            )

    def words(self, url: str, streams: int, out: Path) -> list[str]:
        """Return the command line of one level."""
        return [self._filled(word, url, streams, out) for word in self.command]

    def result_path(self, url: str, streams: int, out: Path) -> Path | None:
        """Return the named result of one level."""
        return None if self.result is None else Path(self._filled(self.result, url, streams, out))

    def _filled(self, text: str, url: str, streams: int, out: Path) -> str:
        values = (url, MODEL, str(streams), str(streams * self.waves), str(self.plan.tokens), str(out))
        for placeholder, value in zip(PLACEHOLDERS, values, strict=True):
            text = text.replace(placeholder, value)
        return text


class CertifiedError(Record):
    """The error of one quantity in ms, of each request, of each gap, or of the tool's own percentiles (`of`)."""

    of: str
    n: int
    error: ErrorSpread


class CertifiedLevel(Record):
    """What a tool reported of one load, beside the log of the server."""

    streams: int
    sent_requests: int
    """Requests that reached the server in the measured part."""
    warmup_requests: int
    """Requests before the first one of the report."""
    reported_requests: int
    lost_requests: int
    """Requests that the server answered completely and the report does not have, or has as failed."""
    streamed: bool = True
    events_s: float | None = None
    """Received rate: events with tokens from the first request to the last token."""
    missing_events: int | None = None
    extra_events: int | None = None
    """Events of a reply that the tool counts as tokens and the server sent without one, such as the finish chunk."""
    wrong_token_counts: int | None = None
    first_event: str | None = None
    """What ends the tool's TTFT, by its median: a key of FIRST_EVENTS; None if it cannot see the stream."""
    ttft_off_ms: float | None = None
    """Median of the tool's TTFT minus the true one, to the first token."""
    ttft: CertifiedError | None = None
    """Error against the event that ends the tool's own TTFT."""
    itl: CertifiedError | None = None
    tpot: CertifiedError | None = None
    e2e: CertifiedError | None = None
    cpu_s: float
    """CPU time of all processes of the tool, start-up included."""
    cpu_us_per_event: float | None = None
    memory_mib: float | None = None
    server_late_p99_ms: float | None = None
    trusted: bool
    problem: str | None = None


class Certificate(Record):
    """How far the numbers of one tool can be trusted on one machine."""

    command: list[str]
    tool: str = ""
    version: str | None = None
    report: str = ""
    """Where the numbers were read."""
    by_request: bool = False
    first_event: str | None = None
    """What ends the tool's TTFT."""
    streamed: bool = True
    """Whether it asks for streams; a tool that does not cannot see a first token."""
    trusted_up_to_streams: int | None = None
    trusted_up_to_events_s: float | None = None
    cpu_us_per_event: float | None = None
    """CPU per event beyond the start-up: from the lowest to the highest level; None with one level."""
    true_ttft_ms: float
    true_itl_ms: float
    levels: list[CertifiedLevel] = Field(default_factory=list)
    machine: Machine
    notes: list[str] = Field(default_factory=list)


async def certify(
    tool: CertifiedTool, working_folder: Path, report_progress: Callable[[str], None] = lambda _line: None
) -> Certificate:
    """Run the tool under each load and return its certificate; a level that fails is the last one.

    Args:
        tool: The tool and its loads.
        working_folder: Where the tool runs; new result files are looked for there.
        report_progress: Gets a line per level.

    Raises:
        RunFailed: The tool failed at the first level.
        UsageError: Its result cannot be found or read.
    """
    levels: list[CertifiedLevel] = []
    last: ToolReport | None = None
    for streams in sorted(set(tool.levels)):
        level, report = await _certify_level(tool, streams, working_folder)
        if report is None and not levels:
            raise RunFailed(f"the tool failed at {streams} streams: {level.problem}")
        last = report or last
        levels.append(level)
        report_progress(f"{streams} streams: {level.problem or ('trusted' if level.trusted else 'not trusted')}")
        if level.problem:
            break
    assert last is not None
    trusted = _trusted(levels)
    return Certificate(
        command=list(tool.command),
        tool=last.tool,
        version=last.version,
        report=last.where,
        by_request=last.by_request,
        first_event=_first_event(levels),
        streamed=any(level.streamed for level in levels),
        trusted_up_to_streams=None if trusted is None else trusted.streams,
        trusted_up_to_events_s=None if trusted is None else trusted.events_s,
        cpu_us_per_event=_cpu_beyond_start(levels, tool),
        true_ttft_ms=tool.plan.ttft_s * 1e3,
        true_itl_ms=tool.plan.itl_s * 1e3,
        levels=levels,
        machine=machine_facts(),
        notes=list(last.result.notes) if last.result else [],
    )


async def _certify_level(
    tool: CertifiedTool, streams: int, working_folder: Path
) -> tuple[CertifiedLevel, ToolReport | None]:
    environment = {name: value for name, value in os.environ.items() if name != API_KEY_VARIABLE}
    with tempfile.TemporaryDirectory() as scratch, tempfile.TemporaryDirectory() as own:
        where, out = Path(scratch), Path(own)
        async with serve_reference(tool.plan, where) as endpoint:
            began_s = time.time()
            words = tool.words(endpoint.url, streams, out)
            cost = await run_tree(words, environment, where / "output.log", limit_s=tool.limit_s)
            given = tool.result_path(endpoint.url, streams, out)
        log = read_send_log(where / "send_log.parquet").events
        printed = (where / "output.log").read_text(errors="replace")
        report, problem = None, _failure(cost, printed, tool.limit_s)
        if problem is None:
            # A file system may store times in steps of a clock tick.
            report = find_report(given, [out, working_folder], began_s - 0.05, printed)
            report = replace(report, where=report.where.replace(str(out), "{out}"))
    log = log[log["stream"] > 0]  # stream 0 is the readiness check
    return _level((tool, streams), cost, log, report, problem), report


def _failure(cost: Cost, printed: str, limit_s: float) -> str | None:
    if cost.code is None:
        return f"it did not end within {limit_s:.0f} s"
    if cost.code:
        return f"exit code {cost.code}: {' '.join(printed.split())[-OUTPUT_CHARACTERS:]}"
    return None


def _level(
    planned: tuple[CertifiedTool, int], cost: Cost, log: pd.DataFrame, report: ToolReport | None, problem: str | None
) -> CertifiedLevel:
    tool, streams = planned
    truth = true_streams(log, tool.plan)
    events = int(truth["outputs"].sum())
    level = CertifiedLevel(
        streams=streams,
        sent_requests=len(truth),
        warmup_requests=0,
        reported_requests=0,
        lost_requests=0,
        cpu_s=cost.cpu_s,
        cpu_us_per_event=cost.cpu_s / events * 1e6 if events else None,
        memory_mib=cost.memory_mib,
        server_late_p99_ms=server_lateness_ms(log)["p99"],
        trusted=False,
        problem=problem,
    )
    if report is None:
        return level
    if not len(truth):
        level.problem = "no request reached the reference server: does the command use {url} for its requests?"
        return level
    level.events_s, level.streamed = _events_s(truth), bool(events)
    if report.tables is not None or len(report.requests):
        _compare_requests(level, report, truth, log)
    else:
        _compare_percentiles(level, report, truth, log)
    least_ms = TRUSTED_ERROR_SHARE * tool.plan.itl_s * 1e3
    known = [one.error.p99 for one in (level.ttft, level.itl, level.e2e) if one and one.error.p99 is not None]
    level.trusted = bool(known) and max(known) <= least_ms and not level.lost_requests and not level.missing_events
    return level


def _compare_requests(level: CertifiedLevel, report: ToolReport, truth: pd.DataFrame, log: pd.DataFrame) -> None:
    """Fill the level from a report that has a row per request."""
    requests = report.tables.requests if report.tables else report.requests
    if "phase" in requests:
        requests = requests[requests["phase"] == "measure"]
    ended = requests[requests["outcome"] == "completed"] if "outcome" in requests else requests
    matched = match_by_ids(report.tables.streams, truth) if report.tables else match_by_time(ended, truth)
    rows = ended.set_index("request_id").join(
        truth.reindex(matched.streams).set_axis(matched.streams.index).add_prefix("true_")
    )
    true = rows.filter(like="true_").rename(columns=lambda name: name.removeprefix("true_"))
    rows = rows.astype({name: "float64" for name in ("ttft_s", "e2e_s", "tpot_s")})
    level.warmup_requests, level.lost_requests = len(matched.warmup), len(matched.lost)
    level.sent_requests -= level.warmup_requests
    level.reported_requests = len(ended)
    level.first_event = first_event(rows["ttft_s"].dropna(), true) if level.streamed else None
    level.ttft_off_ms = _median_ms(rows["ttft_s"] - true["first_s"])
    if level.first_event:
        level.ttft = _error(EACH_REQUEST, rows["ttft_s"] - true[level.first_event])
    level.e2e = _error(EACH_REQUEST, rows["e2e_s"] - true["last_s"])
    level.tpot = _error(EACH_REQUEST, rows["tpot_s"] - true["tpot_s"])
    if report.tables:
        found = match_events(report.tables.events, matched.streams, log)
        level.itl = _error(EACH_GAP, found["itl_error_s"])
        level.missing_events = int((found["_merge"] == "left_only").sum())
        level.extra_events = int((found["_merge"] == "right_only").sum())
    else:
        level.itl = _percentile_error(report.summary.itl_s, true_gaps_s(log, pd.Index(matched.streams)))
        counted = rows["output_events"].where(rows["output_events"] > 0) if "output_events" in rows else pd.Series()
        if counted.notna().any() and report.summary.itl_s.n:
            beyond = (counted - true["outputs"]).dropna()
            level.missing_events, level.extra_events = int(-beyond.clip(upper=0).sum()), int(beyond.clip(lower=0).sum())
    tokens = rows["completion_tokens"].astype("float64")
    if tokens.notna().any():
        level.wrong_token_counts = int((tokens.notna() & true["tokens"].notna() & (tokens != true["tokens"])).sum())


def _compare_percentiles(level: CertifiedLevel, report: ToolReport, truth: pd.DataFrame, log: pd.DataFrame) -> None:
    """Fill the level from a report that has only distributions; what the tool sent for warm-up is in the truth."""
    summary = report.summary
    level.reported_requests = summary.completed
    level.lost_requests = max(0, len(truth) - summary.completed) if summary.failed else 0
    level.warmup_requests = max(0, len(truth) - summary.completed - level.lost_requests)
    level.sent_requests -= level.warmup_requests
    measured = truth.iloc[level.warmup_requests :]
    if summary.ttft_s.p50 is not None and level.streamed:
        level.first_event = first_event(pd.Series([summary.ttft_s.p50]), measured)
        level.ttft_off_ms = (summary.ttft_s.p50 - float(measured["first_s"].median())) * 1e3
        level.ttft = _percentile_error(summary.ttft_s, measured[level.first_event or "first_s"])
    level.e2e = _percentile_error(summary.done_s if summary.e2e_s.p50 is None else summary.e2e_s, measured["last_s"])
    level.tpot = _percentile_error(summary.tpot_s, measured["tpot_s"])
    level.itl = _percentile_error(summary.itl_s, true_gaps_s(log, measured.index))


def _error(of: str, errors_s: "pd.Series[float]") -> CertifiedError | None:
    values = np.abs(non_null(errors_s)) * 1e3
    if not len(values):
        return None
    p50, p99 = (percentile(values, p).value for p in (50, 99))
    return CertifiedError(of=of, n=len(values), error=ErrorSpread(p50=p50, p99=p99, max=float(values.max())))


def _percentile_error(reported: Distribution, true_s: "pd.Series[float]") -> CertifiedError | None:
    """Return how far the tool's p50 and p99 are from the true ones, which says nothing of single requests."""
    values = non_null(true_s)
    if not len(values) or (reported.p50 is None and reported.p99 is None):
        return None
    p50, p99 = (
        None if value is None or (true := percentile(values, p).value) is None else abs(value - true) * 1e3
        for value, p in ((reported.p50, 50), (reported.p99, 99))
    )
    return CertifiedError(of=PERCENTILES, n=reported.n, error=ErrorSpread(p50=p50, p99=p99, max=None))


def _median_ms(values_s: "pd.Series[float]") -> float | None:
    values = non_null(values_s)
    return float(np.median(values)) * 1e3 if len(values) else None


def _events_s(truth: pd.DataFrame) -> float | None:
    end_s = (truth["asked_ns"] / 1e9 + truth["last_s"]).max()
    span_s = end_s - truth["asked_ns"].min() / 1e9
    return float(truth["outputs"].sum() / span_s) if span_s > 0 else None


def _trusted(levels: Sequence[CertifiedLevel]) -> CertifiedLevel | None:
    """Return the highest level below which none failed."""
    best = None
    for level in levels:
        if not level.trusted:
            break
        best = level
    return best


def _first_event(levels: Sequence[CertifiedLevel]) -> str | None:
    """Return what ends the tool's TTFT at the lowest level, where it is the clearest."""
    return next((FIRST_EVENTS[level.first_event] for level in levels if level.first_event), None)


def _cpu_beyond_start(levels: Sequence[CertifiedLevel], tool: CertifiedTool) -> float | None:
    if len(levels) < 2:
        return None
    first, last = levels[0], levels[-1]
    events = (last.sent_requests + last.warmup_requests - first.sent_requests - first.warmup_requests) * (
        -(-tool.plan.tokens // tool.plan.tokens_per_event)
    )
    return (last.cpu_s - first.cpu_s) / events * 1e6 if events > 0 and last.cpu_s > first.cpu_s else None


def certificate_text(certificate: Certificate) -> str:
    """Return the certificate in a few sentences, without the table of its levels."""
    name = " ".join(filter(None, (certificate.tool, certificate.version)))
    detail = "request by request" if certificate.by_request else "percentiles only"
    lines = [f"{name}, read from {certificate.report}, {detail}."]
    if not certificate.streamed:
        lines.append("It does not stream, so it cannot see a first token: a TTFT that it prints is computed.")
    elif certificate.first_event is None:
        lines.append("It reports no TTFT.")
    elif certificate.first_event == FIRST_EVENTS["first_s"]:
        lines.append("Its TTFT ends at the first token.")
    else:
        off = next((level.ttft_off_ms for level in certificate.levels if level.ttft_off_ms is not None), 0.0)
        side = "before" if off < 0 else "after"
        lines.append(
            f"Its TTFT ends at {certificate.first_event}: {abs(off):,.0f} ms {side} the first token. "
            "The errors of TTFT below are against that event."
        )
    if certificate.trusted_up_to_streams is None:
        lines.append("It cannot be trusted even at the lowest load that was tried.")
    else:
        rate = certificate.trusted_up_to_events_s
        lines.append(
            f"Trusted up to {certificate.trusted_up_to_streams:,} streams"
            + (f" ({rate:,.0f} events/s)" if rate else "")
            + ", of the loads that were tried."
        )
    if certificate.cpu_us_per_event is not None:
        lines.append(f"CPU: {certificate.cpu_us_per_event:,.0f} µs per event beyond its start.")
    return "\n".join(lines)
