"""`gptoss-bench draw RUN-OR-FILE… --out FILE`: draw results of this kit and of other tools on one figure."""

from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_client import UsageError

PICTURE_FORMATS = (".svg", ".png", ".pdf")
EXAMPLE = """example, a run of this kit beside the results of other tools for the same server:
  gptoss-bench draw results/runs/20261124T090000Z-load-0a1b2c vllm.json guidellm.json --out beside.svg"""


def draw(
    results: Annotated[
        list[str],
        typer.Argument(metavar="RUN-OR-FILE", help="runs, or result files of other tools", autocompletion=complete_run),
    ],
    *,
    out: Annotated[Path, typer.Option(metavar="FILE", help=f"picture to write: {', '.join(PICTURE_FORMATS)}")],
) -> int:
    """Draw times, and prefill and decode rates, of runs and of other tools' result files in one figure."""
    ending = out.suffix.lower()
    if ending not in PICTURE_FORMATS:
        raise UsageError(f"--out {out}: the name must end in {', '.join(PICTURE_FORMATS)}")
    paths = [find_run(name) for name in results]
    # matplotlib and seaborn take a second to import: only this command pays for them.
    from gptoss_bench.figures import results_side_by_side
    from gptoss_bench.files import replacing, writing
    from gptoss_bench.lint import read_results

    figure = results_side_by_side([result for path in paths for result in read_results(path)])
    with writing(out, "choose another --out"), replacing(out) as part:
        figure.savefig(part, format=ending.removeprefix("."), dpi=150)
    print(out)
    return 0
