"""Keep in a run folder what each of several workers does while they send its load; a finished run has no such file.

The coordinator writes it about once a second, so that other processes can show it.
"""

import json
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gptoss_bench.files import open_own, replacing

FILE = "workers.json"


@dataclass(frozen=True, slots=True)
class WorkerProgress:
    """What one worker does, by its last answer and the plan.

    `state` is "starting", "ready", "sending" or "done", or says why the worker is gone (`gone`). The counts have the
    warm-up requests too; `requests` is None if the load ends by time. `failed` counts what is known without decoding:
    no whole response, or another HTTP status than 200. `in_flight` follows from the plan and the ended requests.
    `tok_s` is the rate of the last 10 s by the token counts that the server reported with ended requests; None:
    unknown. `heard_s` is the time of the last answer (s, `time.monotonic`, of the coordinator's machine).
    """

    index: int
    state: str
    gone: bool
    requests: int | None
    ended: int
    failed: int
    in_flight: int
    tok_s: float | None
    heard_s: float


def write_worker_progress(run: Path, workers: Sequence[WorkerProgress]) -> None:
    """Replace what the run folder says of the workers; a disk that refuses is no error."""
    with suppress(OSError), replacing(run / FILE) as part:
        part.write_text(json.dumps([asdict(worker) for worker in workers]), encoding="utf-8")


def read_worker_progress(run: Path) -> list[WorkerProgress]:
    """Return what the workers of a run do now; empty if it has no workers or has ended."""
    with suppress(OSError, ValueError, TypeError), open_own(run / FILE, "rb") as file:
        return [WorkerProgress(**worker) for worker in json.load(file)]
    return []


def remove_worker_progress(run: Path) -> None:
    """Remove the file: the run has ended."""
    (run / FILE).unlink(missing_ok=True)
