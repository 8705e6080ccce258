"""Run all clients in turn under the same loads, and compare each with the send log; measure CPU and memory."""

import contextlib
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pandas as pd

from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.contention import busy_cores
from gptoss_bench.calibration.peers.registry import Job, Peer, peer_command, peer_environment, peer_version
from gptoss_bench.calibration.peers.reports import (
    GAPS,
    ErrorPercentiles,
    PeerReport,
    read_report,
    report_errors,
    server_itl_p50_ms,
)
from gptoss_bench.calibration.process_cost import run_tree
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log, server_lateness_ms
from gptoss_client import RunFailed, UsageError, raise_open_file_limit

TTFT_S = 0.2
LIMIT_S = 40.0  # of one client's run, its start-up included
REPEAT_S = 10.0  # a run that took longer is not made again in another round
OUTPUT_CHARACTERS = 200  # of the end of a failed client's output, kept in its row
NO_ERRORS = ErrorPercentiles(0, None, None, None, GAPS)


@dataclass(frozen=True, slots=True)
class PeerLoad:
    """`waves` waves of `streams` requests with `tokens` each, one token every `itl_s` (0: as fast as possible).

    The first wave is warm-up.
    """

    name: str
    streams: int
    itl_s: float
    tokens: int
    waves: int = 3

    @property
    def requests(self) -> int:
        """Return the total number of requests of each client."""
        return self.streams * self.waves


PEER_LOADS = (
    PeerLoad("64 streams at 40 tokens/s", 64, 0.025, 40),
    PeerLoad("256 streams at 40 tokens/s", 256, 0.025, 40, waves=2),
    PeerLoad("64 streams in a burst", 64, 0.0, 256),
    PeerLoad("512 streams at 80 tokens/s", 512, 0.0125, 40, waves=2),
)
START = PeerLoad("start", 1, 0.0, 2, waves=2)  # measures the cost of starting a client


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One run of one client.

    `requests` were compared with the send log; `lost` were sent but are missing from the client's report.
    `true_itl_p50_ms` is the median gap between sends, `server_late_p99_ms` the server's lateness. `cpu_s` is the CPU
    time beyond that of START, `loading_cpu_s` the part while requests were in flight, for a client that works
    afterwards, `tree_cpu_s` that of all its processes from start to end. `problem` is why there are no numbers.
    """

    round: int
    load: str
    client: str
    version: str
    requests: int
    lost: int
    events: int
    ttft_p50_ms: float | None
    ttft_p99_ms: float | None
    itl_p99_ms: float | None
    itl_of: str
    cpu_s: float | None
    loading_cpu_s: float | None
    tree_cpu_s: float
    memory_mib: float | None
    wall_s: float
    true_itl_p50_ms: float | None
    server_late_p99_ms: float | None
    problem: str | None


@dataclass(frozen=True, slots=True)
class _Ran:
    """A run before the send log is read; its streams are those from `first` to before `end`."""

    peer: Peer
    reported: PeerReport | None
    first: int
    end: int
    wall_s: float
    tree_cpu_s: float
    memory_mib: float | None
    problem: str | None

    @property
    def cpu_s(self) -> float:
        """Return the CPU time of all processes, or the client's own measurement, which leaves out its imports."""
        return self.tree_cpu_s if self.reported is None or self.reported.cpu_s is None else self.reported.cpu_s


async def compare_clients(
    clients: Sequence[Peer],
    loads: Sequence[PeerLoad],
    *,
    rounds: int,
    folder: Path,
    contended: bool = False,
    report_progress: Callable[[str], None],
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return one row per run (PeerRow), and by absent client the reason; `folder` has the venvs of the peers.

    Each round runs all clients under each load, so that a disturbance affects all of them. Slow clients run in the
    first round only, as do those whose run under a load took over REPEAT_S. With `contended`, one busy process per
    core runs beside each client and the server. `report_progress` gets a line per run.
    Raises UsageError if not enough files can be opened, RunFailed if the server writes no log.
    """
    raise_open_file_limit(2 * max(load.streams for load in loads))  # the children inherit the limit
    versions, absent = {}, {}
    for peer in clients:
        try:
            versions[peer.name] = f"{peer.package} {peer_version(peer, folder)}"
        except UsageError as error:
            absent[peer.name] = str(error)
    there = [peer for peer in clients if peer.name in versions]
    rows: list[PeerRow] = []
    once: set[tuple[str, str]] = set()
    for number in range(1, rounds + 1):
        present = [peer for peer in there if number == 1 or not peer.slow]
        starts, _ = await _under(START, present, folder, contended)
        base_s = {ran.peer.name: ran.cpu_s for ran in starts}
        for load in loads:
            runs, log = await _under(
                load, [peer for peer in present if (load.name, peer.name) not in once], folder, contended
            )
            once |= {
                (load.name, ran.peer.name) for ran in runs if ran.wall_s > REPEAT_S and ran.peer.name != KIT_CLIENT
            }
            for ran in runs:
                row = _row((number, load), ran, versions[ran.peer.name], base_s[ran.peer.name], log)
                rows.append(row)
                report_progress(f"round {number}, {load.name}, {row.client}: {row.problem or f'{row.wall_s:.1f} s'}")
    return pd.DataFrame([asdict(row) for row in rows], columns=list(PeerRow.__dataclass_fields__)), absent


async def _under(
    load: PeerLoad, clients: Sequence[Peer], folder: Path, contended: bool
) -> tuple[list[_Ran], pd.DataFrame]:
    """Run each client under one load against one server; return the runs and the send log."""
    # The role chunk is sent with the first token, so that TTFT means the same for all clients.
    limit_s = 3 * LIMIT_S if contended else LIMIT_S
    plan = ReferencePlan(ttft_s=TTFT_S, itl_s=load.itl_s, tokens=load.tokens, role="first")
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(plan, where) as endpoint:
            runs = []
            for peer in clients:
                with tempfile.TemporaryDirectory() as own, busy_cores() if contended else contextlib.nullcontext():
                    runs.append(await _run(peer, _job(load, endpoint.url, Path(own)), folder, limit_s))
        try:
            return runs, read_send_log(where / "send_log.parquet").events
        except UsageError as error:
            raise RunFailed(
                "the reference server was killed before its log was complete: rerun on an idle machine"
            ) from error


def _job(load: PeerLoad, url: str, folder: Path) -> Job:
    return Job(url, load.streams, load.requests, load.tokens, folder)


async def _run(peer: Peer, job: Job, folder: Path, limit_s: float) -> _Ran:
    command = peer_command(peer, job, folder)
    first = _streams_so_far(job.url)
    log = job.folder / "output.log"
    cost = await run_tree(command, peer_environment(peer), log, limit_s=limit_s)
    end = _streams_so_far(job.url)
    reported, problem = None, None
    try:
        if cost.code is None:
            raise RunFailed(f"did not end within {limit_s:.0f} s")
        if cost.code:
            raise RunFailed(
                f"exit code {cost.code}: {' '.join(log.read_text(errors='replace').split())[-OUTPUT_CHARACTERS:]}"
            )
        reported = read_report(peer, job)
    except RunFailed as error:
        problem = str(error)
    return _Ran(peer, reported, first, end, cost.wall_s, cost.cpu_s, cost.memory_mib, problem)


def _row(at: tuple[int, PeerLoad], ran: _Ran, version: str, base_s: float, log: pd.DataFrame) -> PeerRow:
    number, load = at
    own = log[(log["stream"] >= ran.first) & (log["stream"] < ran.end)]
    found = NO_ERRORS if ran.reported is None else report_errors(ran.reported, load.streams, own)
    measured = load.requests - load.streams
    cost: dict[str, float | None] = dict.fromkeys(("cpu_s", "loading_cpu_s", "memory_mib"))
    if ran.reported is not None:
        cost = {
            "cpu_s": max(0.0, ran.cpu_s - base_s),
            "loading_cpu_s": ran.reported.loading_cpu_s,
            "memory_mib": ran.memory_mib,
        }
    return PeerRow(
        round=number,
        load=load.name,
        client=ran.peer.name,
        version=version,
        requests=found.requests,
        lost=measured - found.requests,
        events=len(own),
        ttft_p50_ms=found.ttft_p50_ms,
        ttft_p99_ms=found.ttft_p99_ms,
        itl_p99_ms=found.itl_p99_ms,
        itl_of=found.itl_of,
        tree_cpu_s=ran.tree_cpu_s,
        wall_s=ran.wall_s,
        true_itl_p50_ms=server_itl_p50_ms(own),
        server_late_p99_ms=server_lateness_ms(own)["p99"],
        problem=ran.problem,
        **cost,
    )


def _streams_so_far(url: str) -> int:
    answer = httpx.get(f"{url}/reference", trust_env=False, timeout=60)
    return int(answer.json()["streams"])
