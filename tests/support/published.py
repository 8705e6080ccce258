"""The runs that the repository publishes; newer runs on this machine are ignored."""

import json
import re
from pathlib import Path

from gptoss_bench import paths

README = paths.ROOT / "README.md"
[VERDICTS] = re.findall(r"results/runs/([^/]+-verdicts-\w+)/notebook.ipynb", README.read_text())


def folders() -> list[Path]:
    """Return the folders of the published verdicts run and of the runs it is based on."""
    resting = json.loads((paths.RUNS / VERDICTS / "summary.json").read_text())["runs"]
    return [paths.RUNS / run_id for run_id in (VERDICTS, *resting)]


def folder(scenario: str) -> Path:
    """Return the folder of the newest published run of a scenario."""
    return max(path for path in folders() if f"-{scenario}-" in path.name)
