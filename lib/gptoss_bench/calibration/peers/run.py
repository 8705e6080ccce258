"""Run all clients under the same loads in turn and compare each with the log of the reference server."""
# MERGED: One command with all its processes: run to its end or to a limit, with what it cost in CPU and memory.

import asyncio
import contextlib
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx
import pandas as pd

from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.peers.registry import Job, Peer, peer_command, peer_environment, peer_version
from gptoss_bench.calibration.peers.reports import GAPS, Errors, PeerReport, errors, read_report, server_itl_p50_ms
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log, server_lateness_ms
from gptoss_bench.engines import descendants, supervisor
from gptoss_client import RunFailed, UsageError, raise_open_file_limit

TTFT_S = 0.2
LIMIT_S = 40.0  # of one client's run, its start-up included
REPEAT_S = 10.0  # a run that took longer is not made again in another round
SAID = 200  # characters of a client's last words that a row keeps
NOTHING = Errors(0, None, None, None, GAPS)


@dataclass(frozen=True, slots=True)
class PeerLoad:
    """`streams` at a time, `waves` times, each of so many `tokens`, a token every `itl_s`; 0: as fast as can be.

    The first wave is warm-up.
    """

    name: str
    streams: int
    itl_s: float
    tokens: int
    waves: int = 3

    @property
    def requests(self) -> int:
        """What each client sends in all."""
        return self.streams * self.waves


PEER_LOADS = (
    PeerLoad("64 streams at 40 tokens/s", 64, 0.025, 40),
    PeerLoad("256 streams at 40 tokens/s", 256, 0.025, 40, waves=2),
    PeerLoad("64 streams in a burst", 64, 0.0, 256),
    PeerLoad("512 streams at 80 tokens/s", 512, 0.0125, 40, waves=2),
)
START = PeerLoad("start", 1, 0.0, 2, waves=2)  # what a client costs before its load
Progress = Callable[[str], None]


@dataclass(frozen=True, slots=True)
class PeerRow:
    """One run of one client.

    `requests` were compared with the truth, `lost` were sent and are missing from what the client reports.
    `true_itl_p50_ms` is the server's own gap, `server_late_p99_ms` its lateness.
    `cpu_s` is what it used beyond START's run, `loading_cpu_s` the part of it while requests were under way where a
    client does more afterwards, `tree_cpu_s` what all its processes used from their start to their end. `problem` says
    in words why there are no numbers.
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
    """A run before the server's log is there: the server's streams from `first` to before `end` were its own."""

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
        """That of all its processes, or of its one as it measured it itself, its imports left out."""
        return self.tree_cpu_s if self.reported is None or self.reported.cpu_s is None else self.reported.cpu_s


async def compare_clients(
    clients: Sequence[Peer], loads: Sequence[PeerLoad], *, rounds: int, folder: Path, say: Progress
) -> tuple[pd.DataFrame, dict[str, str]]:
    """One row a run (Row), and why each client that is absent is. `folder` is where the venvs of peers are.

    Each round goes through all loads, each load through all clients, so that a disturbance hits all alike. A client
    that is slow to start takes part in the first round only, as does one whose run under a load took over REPEAT_S.
    Raises UsageError where the files cannot be opened, RunFailed where the server leaves no log.
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
        starts, _ = await _under(START, present, folder)
        base_s = {ran.peer.name: ran.cpu_s for ran in starts}
        for load in loads:
            runs, log = await _under(load, [peer for peer in present if (load.name, peer.name) not in once], folder)
            once |= {
                (load.name, ran.peer.name) for ran in runs if ran.wall_s > REPEAT_S and ran.peer.name != KIT_CLIENT
            }
            for ran in runs:
                row = _row((number, load), ran, versions[ran.peer.name], base_s[ran.peer.name], log)
                rows.append(row)
                say(f"round {number}, {load.name}, {row.client}: {row.problem or f'{row.wall_s:.1f} s'}")
    return pd.DataFrame([asdict(row) for row in rows], columns=list(PeerRow.__dataclass_fields__)), absent


async def _under(load: PeerLoad, clients: Sequence[Peer], folder: Path) -> tuple[list[_Ran], pd.DataFrame]:
    """Each client under one load against one server, and the server's log."""
    # The role chunk comes in one write with the first token, so that all clients mean the same by TTFT.
    plan = ReferencePlan(ttft_s=TTFT_S, itl_s=load.itl_s, tokens=load.tokens, role="first")
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(plan, where) as endpoint:
            runs = []
            for peer in clients:
                with tempfile.TemporaryDirectory() as own:
                    runs.append(await _run(peer, _job(load, endpoint.url, Path(own)), folder))
        try:
            return runs, read_send_log(where / "send_log.parquet").events
        except UsageError as error:
            raise RunFailed(
                "the reference server had to be ended before its log was whole: the machine was busy"
            ) from error


def _job(load: PeerLoad, url: str, folder: Path) -> Job:
    return Job(url, load.streams, load.requests, load.tokens, folder)


async def _run(peer: Peer, job: Job, folder: Path) -> _Ran:
    command = peer_command(peer, job, folder)
    first = _streams_so_far(job.url)
    log = job.folder / "output.log"
    cost = await run_tree(command, peer_environment(peer), log, limit_s=LIMIT_S)
    end = _streams_so_far(job.url)
    reported, problem = None, None
    try:
        if cost.code is None:
            raise RunFailed(f"did not end within {LIMIT_S:.0f} s")
        if cost.code:
            raise RunFailed(f"exit code {cost.code}: {' '.join(log.read_text(errors='replace').split())[-SAID:]}")
        reported = read_report(peer, job)
    except RunFailed as error:
        problem = str(error)
    return _Ran(peer, reported, first, end, cost.wall_s, cost.cpu_s, cost.memory_mib, problem)


def _row(at: tuple[int, PeerLoad], ran: _Ran, version: str, base_s: float, log: pd.DataFrame) -> PeerRow:
    number, load = at
    own = log[(log["stream"] >= ran.first) & (log["stream"] < ran.end)]
    found = NOTHING if ran.reported is None else errors(ran.reported, load.streams, own)
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


LOOK_S = 0.1


@dataclass(frozen=True, slots=True)
class Cost:
    """`code` is the exit code, None where the command was ended at its limit.

    `cpu_s` is user and system time of all processes. `memory_mib` is the peak of the sum of their resident memory,
    looked at ten times a second, pages that two share counted twice; None where there is no /proc.
    """

    code: int | None
    wall_s: float
    cpu_s: float
    memory_mib: float | None


async def run_tree(command: Sequence[str], environment: Mapping[str, str], log: Path, *, limit_s: float) -> Cost:
    """Run `command` with its output in `log`; nothing of it is left on any way out.

    The leash adopts what its command leaves behind, so its own account at the end has the CPU of all of them.
    """
    began_s, peak = time.perf_counter(), 0
    supervised = [sys.executable, "-I", supervisor.__file__, "--", *command]
    with log.open("wb") as output, subprocess.Popen(  # noqa: ASYNC220 - it starts in a moment, and wait4 must be ours
        supervised, stdin=subprocess.PIPE, stdout=output, stderr=subprocess.STDOUT, env=dict(environment)
    ) as held:  # fmt: skip
        assert held.stdin is not None
        ended, wall_s = None, 0.0
        try:
            while ended is None and wall_s <= limit_s:
                peak = max(peak, sum(map(_resident, descendants(held.pid))))
                await asyncio.sleep(LOOK_S)
                ended, wall_s = _ended(held.pid, os.WNOHANG), time.perf_counter() - began_s
        finally:
            held.stdin.close()  # the leash then ends whatever of its command has not ended
            in_time = ended is not None
            held.returncode, cpu_s = ended if ended is not None else _ended(held.pid, 0) or (1, 0.0)
    return Cost(held.returncode if in_time else None, wall_s, cpu_s, peak / 2**20 if peak else None)


def _ended(process: int, options: int) -> tuple[int, float] | None:
    """Exit code and CPU seconds of a child that has ended, it and all that it waited for; None while it runs."""
    found, status, used = os.wait4(process, options)
    return (os.waitstatus_to_exitcode(status), used.ru_utime + used.ru_stime) if found else None


def _resident(process: int) -> int:
    with contextlib.suppress(OSError, ValueError, IndexError):
        return int(Path(f"/proc/{process}/statm").read_text().split()[1]) * os.sysconf("SC_PAGE_SIZE")
    return 0
