"""`python -m gptoss_bench run`: execute notebooks with a profile's parameters and print the verdicts."""

import argparse
import shutil
from pathlib import Path
from typing import Any

import yaml

from gptoss_bench import paths
from gptoss_bench.claims import verdict_text, verdicts_from_table
from gptoss_client import UsageError

SCENARIO_NOTEBOOKS = ("calibration", "ollama_a10", "vllm_h100", "transformers_bf16", "verdicts")

EXAMPLE = """examples:
  python -m gptoss_bench run --profile notebooks/profiles/local.yaml
  python -m gptoss_bench run --profile notebooks/profiles/h100.yaml -p url=http://127.0.0.1:8000 vllm_h100 verdicts"""


def add_parser(commands: Any) -> None:
    """Add `run` to the commands."""
    parser = commands.add_parser(
        "run",
        help="execute notebooks with a profile's parameters",
        description="Execute notebooks headlessly, each into a run folder with its HTML, and print the verdicts.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "notebooks", nargs="*", default=SCENARIO_NOTEBOOKS, help=f"default: {' '.join(SCENARIO_NOTEBOOKS)}"
    )
    parser.add_argument("--profile", type=Path, required=True, help="YAML file of parameters")
    parser.add_argument(
        "-p", dest="pairs", action="append", default=[], metavar="NAME=VALUE", help="override one parameter"
    )
    parser.add_argument(
        "--results", type=Path, default=None, metavar="DIR", help="folder that gets runs/<run> (default: results)"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Execute the notebooks, print the verdicts and the paths, and return the exit code."""
    # papermill and nbconvert take a second to import: only this command pays for them.
    from gptoss_bench.notebook import check_parameters, execute_notebook, notebook_parameters, read_profile

    results = (args.results or paths.RESULTS).absolute()
    given = read_profile(args.profile) | _pairs(args.pairs)
    declared = {name: notebook_parameters(name) for name in args.notebooks}
    every = [*declared.values(), *(notebook_parameters(name) for name in SCENARIO_NOTEBOOKS)]
    check_parameters(given, every, args.profile.name)
    if args.results is not None:
        given["results_dir"] = str(results)
    done = []
    for number, name in enumerate(args.notebooks, start=1):
        print(f"[{number}/{len(args.notebooks)}] {name} ...", flush=True)
        mine = {key: value for key, value in given.items() if key in declared[name]}
        done.append(execute_notebook(name, mine, results))
    for executed in done:
        if executed.run.scenario == "verdicts":
            width = min(shutil.get_terminal_size((120, 24)).columns, 140)
            print("\n" + verdict_text(verdicts_from_table(executed.run.table("verdicts")), width=width))
    print()
    for executed in done:
        print(f"{executed.run.scenario}:\n  {_shown(executed.notebook)}\n  {_shown(executed.html)}")
    return 0


def _pairs(pairs: list[str]) -> dict[str, Any]:
    """Parse NAME=VALUE pairs; a value is YAML, as in a profile."""
    parameters = {}
    for pair in pairs:
        name, equals, value = pair.partition("=")
        if not equals:
            raise UsageError(f"-p {pair}: write NAME=VALUE")
        try:
            parameters[name] = yaml.safe_load(value)
        except yaml.YAMLError as error:
            raise UsageError(f"-p {pair}: the value is not YAML") from error
    return parameters


def _shown(path: Path) -> Path:
    """Return the path relative to the working directory if it lies below, else as it is."""
    return path.relative_to(Path.cwd()) if path.is_relative_to(Path.cwd()) else path
