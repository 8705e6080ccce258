"""What a client wrote about its run, read into the tables that `calibrate` compares with the truth."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import calibrate
from gptoss_bench.errors import RunFailed
from gptoss_bench.peers import Job, Peer
from gptoss_bench.store import Run

CHUNK_COLUMNS = ["request_id", "event", "arrival_ns", "itl_s"]
NOTHING = float("nan")


@dataclass(frozen=True, slots=True)
class Told:
    """The numbers that a client itself reports.

    `requests` has request_id and ttft_s; `streams` is the truth server's stream by request_id, out of the replies'
    ids. Either `chunks` (CHUNK_COLUMNS) or, where a client keeps no gaps, `means`: by request_id a request's mean ITL
    (s). `warm`: its first wave is not in here. `cpu_s` as it measured it, None where only its processes tell;
    `loading_cpu_s` is the part of it while requests were under way, None where that is all of it.
    """

    requests: pd.DataFrame
    streams: "pd.Series[int]"
    chunks: pd.DataFrame | None
    means: "pd.Series[float] | None" = None
    warm: bool = False
    cpu_s: float | None = None
    loading_cpu_s: float | None = None


def told_by(peer: Peer, job: Job) -> Told:
    """Read what a run left. Raises RunFailed, in words, where that is nothing or of another shape."""
    try:
        if peer.kind == "aiperf":
            return _aiperf(job.folder / "aiperf")
        if peer.kind == "kit":
            return _kit(job.folder / "runs")
        content = json.loads(job.out.read_bytes())
        return _guidellm(content) if peer.kind == "guidellm" else _script(content)
    except (OSError, ValueError, KeyError, TypeError, IndexError) as error:
        raise RunFailed(f"what it left cannot be read: {error!r}") from error


def _script(content: dict[str, Any]) -> Told:
    ids, numbers = content["streams"]
    return Told(
        requests=pd.DataFrame(content["requests"]),
        streams=_streams(dict(zip(ids, numbers, strict=True))),
        chunks=pd.DataFrame(content["chunks"]),
        warm=content.get("warm", False),
        cpu_s=content["cpu_s"],
    )


def _kit(runs: Path) -> Told:
    """This kit leaves a run folder, whose summary has the CPU of its load."""
    [path] = runs.iterdir()
    run = Run.load(path)
    requests, chunks = run.requests, run.chunks
    return Told(
        requests=requests[["request_id", "ttft_s"]],
        streams=calibrate.streams_of(run.traces()),
        chunks=chunks[CHUNK_COLUMNS],
        loading_cpu_s=run.summary["client"]["cpu_s"],
    )


def _guidellm(content: dict[str, Any]) -> Told:
    """guidellm keeps of each request its TTFT and its mean ITL, and the id of its reply."""
    [benchmark] = content["benchmarks"]
    rows = benchmark["requests"]["successful"]
    ttft_s = [row["time_to_first_token_ms"] / 1e3 for row in rows]
    return Told(
        requests=pd.DataFrame({"request_id": range(len(rows)), "ttft_s": ttft_s}),
        streams=_streams({at: int(row["response_id"][-8:]) for at, row in enumerate(rows)}),
        chunks=None,
        means=pd.Series([(row["inter_token_latency_ms"] or NOTHING) / 1e3 for row in rows], dtype="float64"),
    )


def _aiperf(folder: Path) -> Told:
    """aiperf's TTFT and gaps are in its records, the id of a reply and the stamps of its messages in its raw ones."""
    metrics = {row["metadata"]["x_request_id"]: row["metrics"] for row in _lines(folder / "profile_export.jsonl")}
    requests: list[tuple[int, float]] = []
    chunks: list[tuple[int, int, int, float]] = []
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
            gap_s = NOTHING
            if message.get("choices") and message["choices"][0]["delta"].get("content"):
                streams[request_id] = int(message["id"][-8:])
                gap_s = gaps_ms[output - 1] / 1e3 if output else NOTHING
                output += 1
            chunks.append((request_id, event, response["perf_ns"], gap_s))
    return Told(
        requests=pd.DataFrame(requests, columns=["request_id", "ttft_s"]),
        streams=_streams(streams),
        chunks=pd.DataFrame(chunks, columns=CHUNK_COLUMNS),
    )


def _lines(file: Path) -> list[dict[str, Any]]:
    with file.open("rb") as lines:
        return [json.loads(line) for line in lines]


def _streams(numbers: dict[int, int]) -> "pd.Series[int]":
    return pd.Series(numbers, dtype="int64", name="stream")
