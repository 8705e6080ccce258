"""Read the reports of the clients, and compute their errors against the send log of the reference server."""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from gptoss_bench.calibration.accuracy import match_events, stream_numbers, ttft_errors_s
from gptoss_bench.calibration.certification.truth import match_by_time, true_streams
from gptoss_bench.calibration.peers.registry import Job, Peer
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.runs import Run
from gptoss_bench.stats import non_null, percentile
from gptoss_client import NS_PER_S, RunFailed

EVENT_COLUMNS = ["request_id", "event", "arrival_ns", "itl_s"]
NAN = float("nan")
GAPS, MEANS = "each gap", "a request's mean"  # values of ErrorPercentiles.itl_of


@dataclass(frozen=True, slots=True)
class PeerReport:
    """The numbers that a client reports.

    `requests` has request_id and ttft_s; `streams` is the server's stream number by request_id, from the ids of the
    replies, or None: then `requests` has sent_ns, and the requests are matched in the order of their sending. Either
    `events` (EVENT_COLUMNS) is given or, if a client keeps no gaps, `means`: mean ITL (s) by request_id. `warm`: the
    first wave is not included. `cpu_s` is the client's own measurement, None if it has none; `loading_cpu_s` is the
    part while requests were in flight, None if that is all of it.
    """

    requests: pd.DataFrame
    streams: "pd.Series[int] | None"
    events: pd.DataFrame | None
    means: "pd.Series[float] | None" = None
    warm: bool = False
    cpu_s: float | None = None
    loading_cpu_s: float | None = None


def read_report(peer: Peer, job: Job) -> PeerReport:
    """Read the report of a run. Raises RunFailed if it is missing or has another format."""
    try:
        if peer.kind == "aiperf":
            return _aiperf(job.folder / "aiperf")
        if peer.kind == "kit":
            return _kit(job.folder / "runs")
        if peer.kind == "inference-perf":
            return _inference_perf(job.folder / "inference-perf")
        content = json.loads(job.out.read_bytes())
        if peer.kind == "vllm-rs":
            return _vllm_rs(content)
        return _guidellm(content) if peer.kind == "guidellm" else _script(content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError, IndexError) as error:
        raise RunFailed(f"its report cannot be read: {error!r}") from error


def _script(content: dict[str, Any]) -> PeerReport:
    known = content.get("streams")
    return PeerReport(
        requests=pd.DataFrame(content["requests"]),
        streams=None if known is None else _streams(dict(zip(*known, strict=True))),
        events=pd.DataFrame(content["events"]),
        warm=content.get("warm", False),
        cpu_s=content["cpu_s"],
    )


def _kit(runs: Path) -> PeerReport:
    """Read the run folder of this kit; its summary has the CPU time of the load."""
    [path] = runs.iterdir()
    run = Run.load(path)
    requests, events = run.requests, run.events
    return PeerReport(
        requests=requests[["request_id", "ttft_s"]],
        streams=stream_numbers(run.traces()),
        events=events[EVENT_COLUMNS],
        loading_cpu_s=run.load_summary.client.cpu_s,
    )


def _of_gaps(sent_s: Sequence[float], ttft_s: Sequence[float], gaps_s: Sequence[Sequence[float]]) -> PeerReport:
    """Return a report without ids. Event 0 of a reply is the role chunk, event 1 its first token."""
    ids = range(len(sent_s))
    events = [
        (request_id, event, 0, gap_s)
        for request_id, gaps in zip(ids, gaps_s, strict=True)
        for event, gap_s in enumerate((NAN, *gaps), start=1)
    ]
    sent_ns = [round(value * NS_PER_S) for value in sent_s]
    return PeerReport(
        requests=pd.DataFrame({"request_id": ids, "sent_ns": sent_ns, "ttft_s": ttft_s}),
        streams=None,
        events=pd.DataFrame(events, columns=EVENT_COLUMNS),
    )


def _vllm_rs(content: dict[str, Any]) -> PeerReport:
    """Read the report of vllm-rs. Its gaps begin at the role chunk and end at the finish chunk: these two are cut."""
    gaps_s = [gaps[1:-1] for gaps in content["itls"]]
    return _of_gaps(content["start_times"], content["ttfts"], gaps_s)


def _inference_perf(folder: Path) -> PeerReport:
    """Read the times of each token of inference-perf's report per request."""
    rows = json.loads((folder / "per_request_lifecycle_metrics.json").read_bytes())
    rows = [row for row in rows if not row["error"] and row["info"]["response_metrics"]["output_token_times"]]
    times = [row["info"]["response_metrics"]["output_token_times"] for row in rows]
    starts = [row["start_time"] for row in rows]
    ttft_s = [at[0] - start for at, start in zip(times, starts, strict=True)]
    return _of_gaps(starts, ttft_s, [np.diff(at).tolist() for at in times])


def _guidellm(content: dict[str, Any]) -> PeerReport:
    """Read guidellm's report, which has TTFT, mean ITL and reply id of each request."""
    [benchmark] = content["benchmarks"]
    rows = benchmark["requests"]["successful"]
    ttft_s = [row["time_to_first_token_ms"] / 1e3 for row in rows]
    return PeerReport(
        requests=pd.DataFrame({"request_id": range(len(rows)), "ttft_s": ttft_s}),
        streams=_streams({at: int(row["response_id"][-8:]) for at, row in enumerate(rows)}),
        events=None,
        means=pd.Series([(row["inter_token_latency_ms"] or NAN) / 1e3 for row in rows], dtype="float64"),
    )


def _aiperf(folder: Path) -> PeerReport:
    """Read aiperf's records (TTFT and gaps) and raw records (reply ids and arrival times)."""
    metrics = {row["metadata"]["x_request_id"]: row["metrics"] for row in _lines(folder / "profile_export.jsonl")}
    requests: list[tuple[int, float]] = []
    events: list[tuple[int, int, int, float]] = []
    streams: dict[int, int] = {}
    for row in _lines(folder / "profile_export_raw.jsonl"):
        found = metrics.get(row["metadata"]["x_request_id"])
        if not found or "time_to_first_token" not in found:
            continue
        request_id, output = len(requests), 0
        requests.append((request_id, found["time_to_first_token"]["value"] / 1e3))
        gaps_ms = found.get("inter_chunk_latency", {}).get("value", [])
        for event, response in enumerate(row["responses"]):
            payload = response["packets"][0]["value"]
            message = {} if payload == "[DONE]" else json.loads(payload)
            gap_s = NAN
            if message.get("choices") and message["choices"][0]["delta"].get("content"):
                streams[request_id] = int(message["id"][-8:])
                gap_s = gaps_ms[output - 1] / 1e3 if output else NAN
                output += 1
            events.append((request_id, event, response["perf_ns"], gap_s))
    return PeerReport(
        requests=pd.DataFrame(requests, columns=["request_id", "ttft_s"]),
        streams=_streams(streams),
        events=pd.DataFrame(events, columns=EVENT_COLUMNS),
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    with file.open("rb") as lines:
        return [json.loads(line) for line in lines]


def _streams(numbers: dict[int, int]) -> "pd.Series[int]":
    return pd.Series(numbers, dtype="int64", name="stream")


@dataclass(frozen=True, slots=True)
class ErrorPercentiles:
    """Absolute errors in ms over the `requests` compared, those after the first wave; None if nothing was measured.

    `itl_of`: the ITL error is that of each gap or, if a client keeps no gaps, of a request's mean.
    """

    requests: int
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p99_ms: float | None
    itl_of: str


def report_errors(reported: PeerReport, streams: int, log: pd.DataFrame) -> ErrorPercentiles:
    """Compare a report with the send log (SEND_LOG_COLUMNS).

    The first `streams` requests, in the order in which they reached the server, are warm-up and left out.
    """
    numbers = reported.streams
    if numbers is None:
        numbers = match_by_time(reported.requests, true_streams(log, ReferencePlan())).streams
    numbers = numbers.sort_values()
    numbers = numbers if reported.warm else numbers.iloc[streams:]
    requests = reported.requests[reported.requests["request_id"].isin(numbers.index)]
    ttft = ttft_errors_s(requests, numbers, log)
    if reported.events is not None:
        events = reported.events[reported.events["request_id"].isin(numbers.index)]
        itl = match_events(events, numbers, log)["itl_error_s"]
    else:
        itl = _mean_errors(reported, numbers, log)
    itl_of = MEANS if reported.events is None else GAPS
    return ErrorPercentiles(len(requests), _ms(ttft, 50), _ms(ttft, 99), _ms(itl, 99), itl_of)


def server_itl_p50_ms(log: pd.DataFrame) -> float | None:
    """Return the median gap between the sends of a stream's outputs (ms), None if there is none."""
    gaps_s = log[log["output"]].sort_values(["stream", "event"]).groupby("stream")["sent_ns"].diff() / NS_PER_S
    return _ms(gaps_s, 50)


def _mean_errors(reported: PeerReport, numbers: "pd.Series[int]", log: pd.DataFrame) -> "pd.Series[float]":
    """Return by request_id the client's mean ITL minus the server's: (last send - first send) / (outputs - 1)."""
    outputs = log[log["output"] & log["stream"].isin(numbers)].groupby("stream")["sent_ns"]
    server_s = (outputs.max() - outputs.min()) / (outputs.count() - 1).where(lambda gaps: gaps > 0) / NS_PER_S
    assert reported.means is not None
    return reported.means.reindex(numbers.index) - numbers.map(server_s)


def _ms(errors_s: pd.Series, p: float) -> float | None:
    value = percentile(np.abs(non_null(errors_s)), p).value
    return None if value is None else value * 1e3
