"""Record GPU, host and server metrics beside a load: a sampler process, phase marks, and the tables of both."""

import asyncio
import contextlib
import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Self
from urllib.parse import urlsplit

from gptoss_bench.files import open_own
from gptoss_bench.runs import RunFolder, ServerMetrics, Telemetry
from gptoss_bench.runs.phases import PHASE_AFTER, PHASE_BEFORE, PHASE_ENDED, PHASE_INFERENCE, PHASE_WARMUP
from gptoss_bench.telemetry.samples import describe_samples, read_sample_lines
from gptoss_bench.telemetry.server_window import MetricsWindow
from gptoss_client import Endpoint

START_S, STOP_S = 30.0, 5.0  # a GPU that no process holds open takes seconds to wake
# Minimum length of a phase, so that a sample falls into it; a GPU averages its utilisation over a second.
SETTLE_S, SETTLE_GPU_S = 0.3, 2.0
LOOPBACK = ("127.0.0.1", "::1", "localhost")
FILE = "telemetry.jsonl"
PHASES = {"warmup": PHASE_WARMUP, "measure": PHASE_INFERENCE, "end": PHASE_ENDED}  # of a load
TABLES = ("gpu", "host", "server")


@asynccontextmanager
async def record_telemetry(folder: RunFolder, *, attached: bool) -> AsyncIterator["TelemetryRecorder"]:
    """Sample until the block ends, or until `write_tables`; then write the tables to the run folder.

    The first phase is "before load", or "after load" for a server that was `attached` to.
    """
    telemetry = MachineSampler(folder.path)
    recorder = TelemetryRecorder(telemetry, folder)
    try:
        await telemetry.start(PHASE_AFTER if attached else PHASE_BEFORE)
        yield recorder
    finally:
        await telemetry.stop()
        recorder.write_tables()


class TelemetryRecorder:
    """Return what was recorded so far; a missing source is a message and never fails the run."""

    def __init__(self, telemetry: "MachineSampler", folder: RunFolder) -> None:
        """Take a sampler and the folder of its tables; `record_telemetry` starts one."""
        self.telemetry = telemetry
        self._folder = folder
        self._written = False
        self._server: MetricsWindow | None = None
        self._metrics = ServerMetrics(words="nothing was measured yet")

    @classmethod
    def unsampled(cls, folder: RunFolder, words: str) -> Self:
        """Return a recorder that samples nothing; `words` says why not."""
        sampler = MachineSampler(folder.path)
        sampler.words = words
        recorder = cls(sampler, folder)
        recorder._metrics = ServerMetrics(words=words)
        return recorder

    async def ready(self, endpoint: Endpoint, sources: Mapping[str, str], advice: str = "") -> None:
        """Take the ready engine and begin the phase "after load".

        `sources` has the engine of each prefix of metric names, `advice` is for a server without /metrics.
        """
        self.telemetry.watch(endpoint)
        self._server = MetricsWindow(endpoint, sources, advice)
        await self.phase(PHASE_AFTER)

    async def phase(self, name: str) -> None:
        """Begin a phase and wait until it has been sampled."""
        self.telemetry.mark(name)
        await self.telemetry.settle()

    async def load_phase(self, name: str, completed: int) -> None:
        """Begin a phase of the load (`load.OnPhase`); `completed` is the number of requests measured so far."""
        if name == "measure" and self._server is not None:
            await self._server.begin()
        self.telemetry.mark(PHASES[name])
        if name == "end" and self._server is not None:
            await self.telemetry.settle()  # a sample on each side of the window
            self._metrics = await self._server.end(completed)

    def write_tables(self) -> None:
        """Stop sampling and write the tables to the run folder; do nothing if they were written or it is gone.

        Raises UsageError where the disk refuses.
        """
        if self._written or self._folder.is_gone():
            return
        self.telemetry.stop_now()
        for name in TABLES:
            self._folder.write_table(name, self.telemetry.tables[name])
        self.telemetry.remove()
        self._written = True

    def reported(self) -> tuple[Telemetry, ServerMetrics]:
        """Return what the summary keeps of the samples, and of the server's own metrics."""
        return self.telemetry.describe(), self._metrics


class MachineSampler:
    """The sampler process of one run. An error of it is described in `words` and does not stop the run."""

    def __init__(self, folder: Path) -> None:
        """Take the run folder; nothing runs before `start`."""
        self._file = folder / FILE
        self._process: subprocess.Popen[bytes] | None = None
        self._marks: list[tuple[str, int]] = []
        self._local = False
        self._has_gpu = False
        self._end_ns: int | None = None  # of the last phase; None: it goes on
        self.words: str | None = "not started"
        self.tables, self._devices = read_sample_lines([], [])

    async def start(self, phase: str = PHASE_BEFORE) -> None:
        """Start sampling in a phase; return when the phase has been sampled."""
        self.mark(phase)
        try:
            self._process = _sampler(self._file)
            assert self._process.stdout is not None
            ready = asyncio.to_thread(self._process.stdout.readline)
            self.words = None if await asyncio.wait_for(ready, START_S) else "the sampler ended at once"
        except TimeoutError:
            self.words = f"the sampler took no sample within {START_S:g} s"
        except OSError as error:
            self.words = f"the sampler could not be started: {error.strerror}"
        if self.words is None:
            self._read()
            self._has_gpu = bool(self._devices["devices"])
            await self.settle()

    def mark(self, phase: str) -> None:
        """Begin a phase now."""
        self._marks.append((phase, time.perf_counter_ns()))

    async def settle(self) -> None:
        """Wait until the phase has been sampled."""
        if self.words is None:
            await asyncio.sleep(SETTLE_GPU_S if self._has_gpu else SETTLE_S)

    def watch(self, endpoint: Endpoint) -> None:
        """Tell the sampler where the engine is; on this machine it finds the engine's processes."""
        parts = urlsplit(endpoint.url)
        self._local = parts.hostname in LOOPBACK
        port = parts.port or (443 if parts.scheme == "https" else 80)
        reported = {"port": port if self._local else None, "metrics": f"{endpoint.url}/metrics"}
        if self._process is not None and self._process.stdin is not None:
            with contextlib.suppress(OSError):
                self._process.stdin.write(json.dumps(reported).encode() + b"\n")
                self._process.stdin.flush()

    def describe(self) -> Telemetry:
        """Return what the summary keeps of it up to now, and in `words` what is wrong with it."""
        self._read()
        end_ns = self._end_ns or time.perf_counter_ns()
        found = describe_samples(self.tables, self._devices, self._marks, end_ns) if self._marks else Telemetry()
        if not self._local:
            # This machine's GPU is not the server's, and its energy not that of the tokens.
            found.energy_j = None
        found.words, found.engine_here = self.words, self._local
        return found

    async def stop(self) -> None:
        """Stop the sampler and read its file. May be called twice."""
        await asyncio.shield(asyncio.to_thread(self.stop_now))

    def stop_now(self) -> None:
        """Stop as `stop` does, for callers that cannot await."""
        if self._process is not None:
            self._end(self._process)
            self._process = None
            self._read()

    def read_file(self, marks: Sequence[tuple[str, int]]) -> bool:
        """Read the file that an earlier sampler left, with these phases; return whether it has samples."""
        self._marks, self.words = list(marks), "the run was killed: its phases are those of its requests"
        self._read()
        sampled_ns = [int(table["timestamp_ns"].max()) for table in self.tables.values() if len(table)]
        self._end_ns = max(sampled_ns, default=None)
        return bool(sampled_ns)

    def remove(self) -> None:
        """Delete the sampler's file; call it when the tables are on disk."""
        self._file.unlink(missing_ok=True)

    def _end(self, process: subprocess.Popen[bytes]) -> None:
        code = process.poll()
        for end in (process.stdin, process.stdout):
            with contextlib.suppress(OSError):
                if end is not None:
                    end.close()
        try:
            ended = process.wait(STOP_S)
            code = code if code is not None or ended == 0 else ended  # it was ending when it was asked
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if process.stderr is not None:
            said = process.stderr.read().decode(errors="replace").strip().rpartition("\n")[2]
            process.stderr.close()
            if code is not None and self.words is None:
                self.words = f"the sampler ended in mid-run ({said or f'exit code {code}'})"

    def _read(self) -> None:
        """Update the tables from the file."""
        with contextlib.suppress(OSError), open_own(self._file, "r", encoding="utf-8", errors="replace") as lines:
            self.tables, self._devices = read_sample_lines(lines, self._marks)


def recover_samples(folder: RunFolder, marks: Sequence[tuple[str, int]]) -> Telemetry | None:
    """Write the tables of a sampler that was killed with its run; return what the summary keeps, None without samples.

    `marks` has each phase and when it began (ns).
    """
    telemetry = MachineSampler(folder.path)
    if not telemetry.read_file(marks):
        return None
    for name in TABLES:
        folder.write_table(name, telemetry.tables[name])
    telemetry.remove()
    return telemetry.describe()


def _sampler(file: Path) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-m", "gptoss_bench.telemetry.sampler", str(file), "--client", str(os.getpid())],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,  # Ctrl-C in the terminal must not reach the sampler
    )
