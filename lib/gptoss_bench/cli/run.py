"""`gptoss-bench run`: execute notebooks with a profile's parameters and print the verdicts."""

import re
import shutil
import sys
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_bench.cli.options import CaFile, Json, use_ca_file
from gptoss_bench.cli.output import coloured, print_json
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.runs import VerdictsSummary

SCENARIO_NOTEBOOKS = ("calibration", "method_trial", "ollama_a10", "vllm_h100", "transformers_bf16", "verdicts")

EXAMPLE = """examples:
  gptoss-bench run --profile notebooks/profiles/local.yaml
  gptoss-bench run --profile notebooks/profiles/h100.yaml -p url=http://127.0.0.1:8000 vllm_h100 verdicts"""


def run(
    notebooks: Annotated[
        list[str] | None, typer.Argument(help=f"notebooks, by name (default: {' '.join(SCENARIO_NOTEBOOKS)})")
    ] = None,
    *,
    profile: Annotated[Path, typer.Option(metavar="FILE", help="YAML file of parameters")],
    pairs: Annotated[
        list[str] | None, typer.Option("-p", metavar="NAME=VALUE", help="override one parameter; can be repeated")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder that gets runs/<run> (default: results)")
    ] = None,
    cacert: CaFile = None,
    as_json: Json = False,
) -> int:
    """Execute notebooks headlessly, each into a run folder with its HTML, and print the verdicts."""
    from gptoss_bench import paths
    from gptoss_bench.claims import verdict_text, verdicts_from_table

    # papermill and nbconvert take a second to import: only this command pays for them.
    from gptoss_bench.notebook import check_parameters, execute_notebook, notebook_parameters, read_profile
    from gptoss_bench.runs import VerdictsSummary

    use_ca_file(cacert)
    names = notebooks or list(SCENARIO_NOTEBOOKS)
    folder = (results or paths.RESULTS).absolute()
    given = read_profile(profile) | _pairs(pairs or [])
    declared = {name: notebook_parameters(name) for name in names}
    every = [*declared.values(), *(notebook_parameters(name) for name in SCENARIO_NOTEBOOKS)]
    parameters = check_parameters(given, every, profile.name)
    if results is not None:
        parameters["results_dir"] = str(folder)
    done = []
    for number, name in enumerate(names, start=1):
        print(f"[{number}/{len(names)}] {name} ...", flush=True, file=sys.stderr if as_json else sys.stdout)
        mine = {key: value for key, value in parameters.items() if key in declared[name]}
        progress = sys.stderr if name == "calibration" else None
        done.append(execute_notebook(name, mine, folder, profile=_profile_name(profile), output=progress))
    verdicts = [
        verdicts_from_table(executed.run.table("verdicts")) for executed in done if executed.run.scenario == "verdicts"
    ]
    if as_json:
        shown = [
            {"scenario": one.run.scenario, "run": one.run.run_id, "notebook": one.notebook, "html": one.html}
            for one in done
        ]
        print_json({"notebooks": shown, "verdicts": [asdict(verdict) for some in verdicts for verdict in some]})
        return 0
    width = min(shutil.get_terminal_size((120, 24)).columns, 140)
    for some in verdicts:
        print("\n" + coloured_verdicts(verdict_text(some, width=width)))
    for executed in done:
        if isinstance(executed.run.summary, VerdictsSummary):
            print("\n" + _evidence_text(executed.run.summary))
    print()
    for executed in done:
        print(f"{executed.run.scenario}:\n  {_shown(executed.notebook)}\n  {_shown(executed.html)}")
    return 0


def _evidence_text(summary: "VerdictsSummary") -> str:
    """Return which runs decided, and which did not and why."""
    lines = ["Evidence:", *(f"  {run_id}: {because}" for run_id, because in summary.chosen.items())]
    if summary.refused:
        lines += ["No evidence:", *(f"  {run_id}: {reason}" for run_id, reason in summary.refused.items())]
    return "\n".join(lines)


def _profile_name(profile: Path) -> str:
    """Return the name of a profile of notebooks/profiles, and the path of another one, whose runs are ad hoc."""
    from gptoss_bench import paths

    return profile.stem if profile.resolve().parent == paths.PROFILES.resolve() else str(profile.name)


def coloured_verdicts(text: str) -> str:
    """Colour the second column, the verdict, of each line that begins with the number of a claim."""
    return re.sub(r"(?m)^(C\d\d +)(\S+(?: \S+)*)(?=  )", lambda match: match[1] + coloured(match[2]), text)


def _pairs(pairs: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; a value is YAML, as in a profile."""
    import yaml

    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair}: write NAME=VALUE")
        try:
            parameters[name] = yaml.safe_load(value)
        except (yaml.YAMLError, ValueError, RecursionError) as error:
            raise UsageError(f"-p {pair}: the value is not YAML") from error
    return parameters


def _shown(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
