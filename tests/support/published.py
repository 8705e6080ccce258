"""The runs that the repository publishes, whatever else was run on this machine since."""

import json
import re
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.cli.readme import README

[VERDICTS] = re.findall(r"<!-- verdicts of (\S+) -->", README.read_text())


def folders() -> list[Path]:
    """The published run of verdicts and those that it rests on."""
    resting = json.loads((paths.RUNS / VERDICTS / "summary.json").read_text())["runs"]
    return [paths.RUNS / run_id for run_id in (VERDICTS, *resting)]


def folder(scenario: str) -> Path:
    """The one of a scenario."""
    [found] = [path for path in folders() if f"-{scenario}-" in path.name]
    return found
