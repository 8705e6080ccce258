"""Talk to the process of one worker: lines of JSON on its stdin and stdout, which may be pipes or a socket."""

import contextlib
import json
import queue
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import IO, Any

from gptoss_bench.fleet.clock import ClockProbe
from gptoss_client import Endpoint, JsonValue, LoadPlan, LoadShard, RunFailed

PROBES = 200
ANSWER_S = 30.0  # the most that an answer of a worker may take


@dataclass(frozen=True, slots=True)
class LoadEnd:
    """How a load ended: "complete", "stopped", "refused" (bad input) or "failed"; `message` is one line or None."""

    status: str
    message: str | None


@dataclass(frozen=True, slots=True)
class WorkerJob:
    """What a worker sends to which server as which part of the load, and where it writes its run folder.

    `results` is a results folder with calibrations of the worker's machine.
    """

    plan: LoadPlan
    endpoint: Endpoint
    shard: LoadShard
    folder: str
    results: str
    scenario: str
    run_id: str
    parameters: dict[str, JsonValue]


def worker_job(line: str) -> WorkerJob:
    """Return the job that `WorkerLink.send_job` sent as this line."""
    job: dict[str, Any] = json.loads(line)
    fields = job["endpoint"]["request_fields"]
    endpoint = Endpoint(**job["endpoint"] | {"request_fields": None if fields is None else tuple(fields)})
    parts = {"plan": LoadPlan(**job["plan"]), "endpoint": endpoint, "shard": LoadShard(**job["shard"])}
    return WorkerJob(**job | parts)


class WorkerLink:
    """The connection to one worker. What the worker has reported so far is in the attributes.

    `is_ready`: its connections are open and its warm-up is over. `is_loaded`: its last request has ended, and
    `completed` of them completed. `ended_requests`: how many had ended when it last answered a question, of them
    `failed_requests` without a whole response or with another HTTP status than 200, with `tokens` output tokens as the
    server reported them (None: it reported none). `ended`: how it ended. `is_gone`: its process has ended, or cannot be
    reached. `heard_s`: when it last reported anything (s, `time.monotonic`).
    """

    def __init__(self, read: IO[bytes], write: IO[bytes], hang_up: Callable[[], None] | None = None) -> None:
        """Take the worker's stdout and stdin, and what closes both (None: closing stdin is enough)."""
        self.is_ready = self.is_loaded = self.is_gone = False
        self.completed = self.ended_requests = self.failed_requests = 0
        self.tokens: int | None = None
        self.ended: LoadEnd | None = None
        self.heard_s = time.monotonic()
        self._read, self._write, self._hang_up = read, write, hang_up or write.close
        self._answers = queue.SimpleQueue[ClockProbe | None]()
        threading.Thread(target=self._listen, daemon=True).start()

    def send_job(self, job: WorkerJob) -> None:
        """Send the job, which is the first line."""
        self._send(asdict(job))

    def begin(self, at_ns: int) -> None:
        """Let the measured load begin at this time of the worker's clock."""
        self._send({"begin": at_ns})

    def finish(self) -> None:
        """Let the worker compute its tables and end."""
        self._send({"finish": True})

    def stop(self) -> None:
        """Request the end of the load and return at once; completed requests are saved."""
        self._send({"stop": True})

    def ask(self) -> None:
        """Ask for a sign of life: the answer renews `heard_s`."""
        self._send({"clock": time.perf_counter_ns()})

    def probe_clock(self, probes: int = PROBES) -> Sequence[ClockProbe]:
        """Ask for the time of the worker's clock that often, and return the answers.

        Raises RunFailed if the worker does not answer.
        """
        found = []
        for _ in range(probes):
            asked_ns = time.perf_counter_ns()
            self._send({"clock": asked_ns})
            while True:
                try:
                    answer = self._answers.get(timeout=ANSWER_S)
                except queue.Empty:
                    answer = None
                if answer is None:
                    raise RunFailed("a worker does not answer any more")
                if answer.asked_ns == asked_ns:
                    break
            found.append(answer)
        return found

    def close(self) -> None:
        """Close the connection: a worker that still runs stops."""
        with contextlib.suppress(OSError, ValueError):
            self._hang_up()

    def _send(self, message: dict[str, Any]) -> None:
        with contextlib.suppress(OSError, ValueError):  # the worker has ended
            self._write.write(json.dumps(message).encode() + b"\n")
            self._write.flush()

    def _listen(self) -> None:
        """Take in what the worker reports, until its end."""
        with contextlib.suppress(OSError, ValueError):
            while line := self._read.readline():
                now_ns = time.perf_counter_ns()
                self._take(json.loads(line), now_ns)
                self.heard_s = time.monotonic()
        with contextlib.suppress(OSError):
            self._read.close()
        self.is_gone = True
        self._answers.put(None)

    def _take(self, message: dict[str, Any], now_ns: int) -> None:
        if "clock" in message:
            self.ended_requests, self.failed_requests = message["ended_requests"], message["failed_requests"]
            self.tokens = message["tokens"]
            self._answers.put(ClockProbe(message["clock"], message["received_ns"], message["answered_ns"], now_ns))
        elif "ready" in message:
            self.is_ready = True
        elif "loaded" in message:
            self.completed, self.is_loaded = message["loaded"], True
        elif "ended" in message:
            self.ended = LoadEnd(**message["ended"])
