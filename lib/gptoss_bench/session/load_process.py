"""Run a load in a child process, so that the work of this process does not disturb the measurement."""

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict
from pathlib import Path
from typing import IO, Any, ClassVar
from weakref import WeakSet

from gptoss_bench import paths
from gptoss_bench.engines import ServerChoice
from gptoss_bench.fleet import LoadEnd
from gptoss_bench.runs import Run, Slo, new_run_id
from gptoss_client import LoadPlan, RunFailed, UsageError

POLL_S = 0.05
SCENARIO = "explore"


class LoadProcess:
    """One load in a child process, which ends with this process at the latest; `path` is its run folder."""

    _started: ClassVar[WeakSet["LoadProcess"]] = WeakSet()

    def __init__(
        self,
        plan: LoadPlan,
        server: ServerChoice,
        *,
        results: Path | None = None,
        run_id: str = "",
        slo: Slo | None = None,
        repeat_group: str = "",
        workers: str = "1",
    ) -> None:
        """Start the load, with the arguments of `serving` and `choose_fleet`.

        Raises UsageError if no process can be started.
        """
        results = (results or paths.RESULTS).absolute()
        self.plan = plan
        self.run_id = run_id or new_run_id(SCENARIO)
        self.path = results / "runs" / self.run_id
        self._ended: LoadEnd | None = None
        job = {
            "plan": asdict(plan),
            "server": server.model_dump(),
            "results_dir": str(results),
            "run_id": self.run_id,
            "slo": None if slo is None else slo.model_dump(exclude_none=True),
            "repeat_group": repeat_group,
            "workers": workers,
        }
        with _log(results) as log:
            try:
                # A new process session: the interrupt of a notebook kernel must not reach the load.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "gptoss_bench.session.load_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log or subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(
                    f"cannot start the load process: {error.strerror}; free memory, or stop other processes"
                ) from error
        self._send(json.dumps(job))
        LoadProcess._started.add(self)

    @property
    def another_is_running(self) -> bool:
        """Whether another load that this process started is running."""
        return any(other is not self and other.ended is None for other in list(LoadProcess._started))

    @property
    def pid(self) -> int:
        """Return the id of the child process."""
        return self._process.pid

    @property
    def ended(self) -> LoadEnd | None:
        """Return how the load ended, None while it runs."""
        if self._ended is None and self._process.poll() is not None:
            self._ended = self._read_end()
        return self._ended

    def stop(self) -> None:
        """Request the end of the load and return at once: poll `ended`. Completed requests are saved."""
        self._send("stop")

    async def wait(self) -> Run:
        """Wait for the end and return the run; cancelling the wait stops the load.

        Raises UsageError if the load was refused, RunFailed if it is incomplete.
        """
        try:
            ended = self.ended
            while ended is None:
                await asyncio.sleep(POLL_S)
                ended = self.ended
        except BaseException:
            self.stop()
            raise
        if ended.status != "complete":
            raise (UsageError if ended.status == "refused" else RunFailed)(ended.message or ended.status)
        return Run.load(self.path)

    def _send(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError, ValueError):  # the child has exited
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def _read_end(self) -> LoadEnd:
        assert self._process.stdout is not None and self._process.stdin is not None
        line = self._process.stdout.read()
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            result = json.loads(line)
            return LoadEnd(result["status"], result["message"])
        except ValueError:
            code = self._process.returncode
            return LoadEnd("failed", f"the load process ended with code {code}; completed requests were saved")


@contextlib.contextmanager
def _log(results: Path) -> Any:
    """Open the kit's log for the stderr of the child; None if it cannot be written."""
    file: IO[bytes] | None = None
    with contextlib.suppress(OSError):
        results.mkdir(parents=True, exist_ok=True)
        file = (results / "gptoss_bench.log").open("ab")
    try:
        yield file
    finally:
        if file is not None:
            file.close()
