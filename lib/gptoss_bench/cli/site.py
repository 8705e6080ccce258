"""`gptoss-bench site`: render the executed notebooks of runs into a site that opens from disk."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import ResultsFolder
from gptoss_bench.cli.run_ids import complete_run, find_run
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.runs import Run

OWN_SCENARIOS = ("endpoint", "explore", "load", "capacity")  # of a user's server, not of the write-up
EXAMPLE = "example: gptoss-bench site 20261124T090000Z-verdicts-0a1b2c"


def site(
    runs: Annotated[
        list[str] | None,
        typer.Argument(
            metavar="RUN",
            help="ids of runs; verdicts bring their evidence (default: your loads since the newest verdicts, "
            "else these, else all runs)",
            autocompletion=complete_run,
        ),
    ] = None,
    *,
    results: ResultsFolder = None,
    out: Annotated[Path | None, typer.Option(metavar="DIR", help="folder of the site (default: build/site)")] = None,
    published: Annotated[
        bool,
        typer.Option(
            "--published",
            help="the newest run of verdicts that git knows, into results/site, and each run's RO-Crate metadata",
        ),
    ] = False,
) -> int:
    """Render the executed notebooks of runs into a site that opens from disk and needs no network."""
    from gptoss_bench import paths

    if published and (runs or results):
        raise UsageError("--published takes the runs that git knows: give it without RUN and --results")
    folder = results or paths.RESULTS
    known = _published_runs() if published else []
    asked = _fronts(known) if published else runs or []
    named = [find_run(run_id, folder).name for run_id in asked]

    # nbconvert and pandas take seconds to import: only this command pays for them, and no wrong id does.
    from gptoss_bench.runs import named_runs, write_crate
    from gptoss_bench.session import clock, showing_progress

    done, began_s = ["reading runs"], time.monotonic()
    with showing_progress(lambda: f"site: {done[-1]}"):
        from gptoss_bench.site import build_site, with_evidence

        chosen = with_evidence(_chosen(folder, named), folder)
        for run in named_runs(folder, known):
            done.append(f"RO-Crate metadata of {run.run_id}")
            write_crate(run)
        front = build_site(chosen, (out or (paths.SITE if published else paths.OWN_SITE)).absolute(), done.append)
    files = [file for file in front.parent.rglob("*") if file.is_file()]
    size = f"{len(files)} files, {sum(file.stat().st_size for file in files) / 1e6:.1f} MB"
    print(
        f"{len(chosen)} run{'s' * (len(chosen) != 1)}, {size} in {clock(time.monotonic() - began_s)}: {front.as_uri()}"
    )
    if left_out := "" if named else _verdicts_left_out(folder, chosen):
        print(
            f"only your loads since the newest verdicts; the verdicts and their evidence: gptoss-bench site {left_out}"
        )
    return 0


def _verdicts_left_out(results: Path, chosen: list["Run"]) -> str:
    """Return the id of the newest run of verdicts where the default has left it out, else ""."""
    from gptoss_bench.runs import newest_verdicts

    verdicts = newest_verdicts(results)
    return verdicts.run_id if verdicts is not None and verdicts.run_id not in {run.run_id for run in chosen} else ""


def _published_runs() -> list[str]:
    """Return the ids of the runs whose manifest git knows. Raises UsageError where no run of verdicts is among them."""
    import subprocess

    from gptoss_bench import paths

    command = ["git", "ls-files", "results/runs/*/manifest.json"]
    try:
        listed = subprocess.run(command, cwd=paths.ROOT, capture_output=True, text=True, check=True).stdout
    except (OSError, subprocess.CalledProcessError) as error:
        raise UsageError(f"git cannot list the published runs of {paths.ROOT}: run this in a checkout") from error
    found = [Path(line).parent.name for line in listed.splitlines()]
    if not any("-verdicts-" in name for name in found):
        raise UsageError("git knows no run of verdicts: publish one with git add -f results/runs/RUN")
    return found


def _fronts(known: list[str]) -> list[str]:
    """Return the newest run of verdicts, and the newest trial of the published method, a finding of the front page."""
    scenarios = ("-verdicts-", "-method-trial-")
    return [max(found) for name in scenarios if (found := [run_id for run_id in known if name in run_id])]


def _chosen(results: Path, run_ids: list[str]) -> list["Run"]:
    from gptoss_bench.runs import named_runs, newest_verdicts, readable_runs

    if run_ids:
        return named_runs(results, run_ids)
    verdicts = newest_verdicts(results)
    own = [run for run in readable_runs(results) if run.scenario != "verdicts"]
    if verdicts is not None:
        newer = [run for run in own if run.run_id > verdicts.run_id and run.scenario in OWN_SCENARIOS]
        return newer or [verdicts]
    if not own:
        raise UsageError(f"there is no run in {results / 'runs'}: run `make run`")
    return own
