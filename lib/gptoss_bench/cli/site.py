"""`gptoss-bench site`: render the executed notebooks of runs into a site that opens from disk."""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import ResultsFolder
from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.runs import Run

EXAMPLE = "example: gptoss-bench site 20261124T090000Z-verdicts-0a1b2c"


def site(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="ids of runs; the evidence of a run of verdicts is included (default: the newest run of verdicts)",
            autocompletion=complete_run,
        ),
    ] = None,
    *,
    results: ResultsFolder = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder of the site (default: results/site)")] = None,
) -> int:
    """Render the executed notebooks of runs into a site that opens from disk and needs no network."""
    from gptoss_bench import paths

    # nbconvert takes seconds to import: only this command pays for it.
    from gptoss_bench.site import build_site, with_evidence

    folder = results or paths.RESULTS
    chosen = with_evidence(_chosen(folder, runs or []), folder)
    front = build_site(chosen, (out or paths.SITE).absolute())
    files = [file for file in front.parent.rglob("*") if file.is_file()]
    print(f"{front}\n{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB")
    return 0


def _chosen(results: Path, run_ids: list[str]) -> list["Run"]:
    from gptoss_bench.runs import named_runs, newest_run

    if run_ids:
        return named_runs(results, [find_run(run_id, results).name for run_id in run_ids])
    verdicts = newest_run(results, "verdicts")
    if verdicts is None:
        raise UsageError(f"there is no run of verdicts in {results / 'runs'}: run `make run`, or name the runs")
    return [verdicts]
