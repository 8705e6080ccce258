"""`gptoss-bench calibrate`: measure the client's timing errors on this machine and write a run folder."""

import sys
from typing import Annotated

import typer

from gptoss_bench.cli.options import Json, ResultsFolder
from gptoss_bench.cli.output import print_json, print_table

EXAMPLE = """example:
  gptoss-bench calibrate --quick

It executes notebooks/calibration.ipynb; every later run on this machine uses its errors. Leave the machine alone
meanwhile: the busy CPUs of the contended levels are started and stopped by the command itself."""


def calibrate(
    *,
    quick: Annotated[bool, typer.Option(help="about 20 seconds instead of up to 10 minutes: medians only")] = False,
    results: ResultsFolder = None,
    as_json: Json = False,
) -> int:
    """Read streams from a reference server that logs each send, level by level, and compare the times."""
    from gptoss_bench import paths
    from gptoss_bench.notebook import execute_notebook
    from gptoss_bench.runs import CalibrationSummary, ErrorSpread

    folder = (results or paths.RESULTS).absolute()
    done = execute_notebook("calibration", {"quick": quick, "results_dir": str(folder)}, folder, output=sys.stderr)
    assert isinstance(done.run.summary, CalibrationSummary)
    if as_json:
        print_json({"run": done.run.run_id, "run_folder": done.run.path, "summary": done.run.summary.document()})
        return 0

    def text(error: ErrorSpread) -> str:
        return " / ".join("–" if ms is None else f"{ms:.2g}" for ms in (error.p50, error.p99))

    columns = ["condition", "kind", "streams × tokens/s", "TTFT error, ms", "ITL error, ms", "core"]
    print_table(
        columns,
        [
            (
                *(level.condition, level.kind, f"{level.streams} × {level.tokens_s:g}"),
                *(text(level.ttft_error), text(level.itl_error), f"{level.cpu_share:.0%}"),
            )
            for level in done.run.summary.levels
        ],
    )
    print("errors: p50 / p99, – where there are too few for it")
    print(f"run folder: {done.run.path}")
    return 0
