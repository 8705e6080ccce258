"""A load in a process of its own, so that nothing that the asking process does can disturb what is measured."""

import asyncio
import contextlib
import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, ClassVar
from weakref import WeakSet

from gptoss_bench import paths
from gptoss_bench.runs import Run, new_run_id
from gptoss_client import LoadPlan, RunFailed, UsageError

POLL_S = 0.05
SCENARIO = "explore"


@dataclass(frozen=True, slots=True)
class LoadTarget:
    """What is to be loaded: the server at `url`, an `engine` (opening.KINDS) that is started, or the embedded one.

    With a `url` that one is attached to; without one and without an `engine` the embedded engine is started. The last
    three are how an engine is launched, see `scenario.serving`.
    """

    url: str = ""
    model: str = ""
    engine: str = ""
    context: int = 0
    prefix_caching: str = ""
    engine_flags: str = ""


@dataclass(frozen=True, slots=True)
class Ended:
    """How a load ended: "complete", "stopped", "refused" (bad input) or "failed", and why in one line."""

    how: str
    words: str | None


class LoadProcess:
    """One load that is going on, and where its run is written. It ends with this process at the latest."""

    _started: ClassVar[WeakSet["LoadProcess"]] = WeakSet()

    def __init__(self, plan: LoadPlan, server: LoadTarget, *, results: Path | None = None, run_id: str = "") -> None:
        """Start it. Raises UsageError where no process can be started."""
        results = (results or paths.RESULTS).absolute()
        self.plan = plan
        self.server = server
        self.run_id = run_id or new_run_id(SCENARIO)
        self.path = results / "runs" / self.run_id
        self._ended: Ended | None = None
        job = {"plan": asdict(plan), "serving": self._serving(results)}
        with _log(results) as log:
            try:
                # A session of its own: the interrupt of a notebook's kernel is not for the load.
                self._process = subprocess.Popen(
                    [sys.executable, "-m", "gptoss_bench.session.load_child"],
                    stdin=subprocess.PIPE,
                    stdout=subprocess.PIPE,
                    stderr=log or subprocess.DEVNULL,
                    start_new_session=True,
                )
            except OSError as error:
                raise UsageError(f"cannot start a process for the load: {error.strerror}") from error
        self._tell(json.dumps(job))
        LoadProcess._started.add(self)

    @property
    def beside(self) -> bool:
        """Whether another load that this process started goes on now."""
        return any(other is not self and other.ended is None for other in list(LoadProcess._started))

    @property
    def pid(self) -> int:
        """Of the process that loads."""
        return self._process.pid

    @property
    def ended(self) -> Ended | None:
        """How it ended; None while it goes on."""
        if self._ended is None and self._process.poll() is not None:
            self._ended = self._reported()
        return self._ended

    def stop(self) -> None:
        """Ask it to end now; completed requests are saved. Returns at once: `ended` says when it has."""
        self._tell("stop")

    async def wait(self) -> Run:
        """The run, once it is whole; a wait that is cancelled stops it. Raises UsageError or RunFailed in its words."""
        try:
            ended = self.ended
            while ended is None:
                await asyncio.sleep(POLL_S)
                ended = self.ended
        except BaseException:
            self.stop()
            raise
        if ended.how != "complete":
            raise (UsageError if ended.how == "refused" else RunFailed)(ended.words or ended.how)
        return Run.load(self.path)

    def _serving(self, results: Path) -> dict[str, Any]:
        return {
            "scenario": SCENARIO,
            "engine": "attached" if self.server.url else self.server.engine or "embedded",
            "url": self.server.url,
            "model": self.server.model,
            "embedded": not (self.server.url or self.server.engine),
            "results_dir": str(results),
            "run_id": self.run_id,
            "context": self.server.context,
            "prefix_caching": self.server.prefix_caching,
            "engine_flags": self.server.engine_flags,
        }

    def _tell(self, line: str) -> None:
        pipe = self._process.stdin
        assert pipe is not None
        with contextlib.suppress(OSError, ValueError):  # it has ended already
            pipe.write(line.encode() + b"\n")
            pipe.flush()

    def _reported(self) -> Ended:
        assert self._process.stdout is not None and self._process.stdin is not None
        said = self._process.stdout.read()
        self._process.stdout.close()
        with contextlib.suppress(OSError):
            self._process.stdin.close()
        try:
            reported = json.loads(said)
            return Ended(reported["ended"], reported["words"])
        except ValueError:
            code = self._process.returncode
            return Ended("failed", f"the load process ended with code {code}; completed requests were saved")


@contextlib.contextmanager
def _log(results: Path) -> Any:
    """The kit's log, open for what the process may print; None where it cannot be written."""
    file: IO[bytes] | None = None
    with contextlib.suppress(OSError):
        results.mkdir(parents=True, exist_ok=True)
        file = (results / "gptoss_bench.log").open("ab")
    try:
        yield file
    finally:
        if file is not None:
            file.close()
