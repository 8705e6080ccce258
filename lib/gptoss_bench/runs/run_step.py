"""Keep in a run folder what its writer does, beyond what its requests show; a finished run has no such file.

Other processes show it.
"""

import json
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path

from gptoss_bench.files import open_own, replacing

FILE = "step.json"


@dataclass(frozen=True, slots=True)
class RunStep:
    """What a run does, such as `doing` "level 4: 3.2 requests/s", and what is `known` so far.

    `began_s` is when it began (s, `time.monotonic`). `lasts_s` is how long the step is planned to last, None if no time
    is planned; from its begin the whole rest of the load takes at most `rest_s`, None if unknown. `run_id` is the run
    whose load it is, such as a repeat; empty: this run.
    """

    doing: str
    began_s: float
    lasts_s: float | None = None
    rest_s: float | None = None
    known: str = ""
    run_id: str = ""


def write_run_step(run: Path, step: RunStep | None) -> None:
    """Replace what the run folder says of its step, or remove it; a disk that refuses is no error."""
    with suppress(OSError):
        if step is None:
            (run / FILE).unlink(missing_ok=True)
            return
        with replacing(run / FILE) as part:
            part.write_text(json.dumps(asdict(step)), encoding="utf-8")


def read_run_step(run: Path) -> RunStep | None:
    """Return the step of a run that is being written, None if its requests show all."""
    with suppress(OSError, ValueError, TypeError), open_own(run / FILE, "rb") as file:
        return RunStep(**json.load(file))
    return None
