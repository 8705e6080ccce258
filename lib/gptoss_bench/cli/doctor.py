"""`python -m gptoss_bench doctor`: check prerequisites and print a fix for each missing one."""

import argparse
from typing import Any

import yaml

from gptoss_bench import paths
from gptoss_bench.engines import DOCTOR_ENGINES, DOCTOR_SCENARIOS, Need, can_run, examine, gather_facts, report_heading
from gptoss_bench.memory import Architecture, architectures

PROMPT_TOKENS = 256  # per request, more than the published prompt has
ALL_SCENARIOS = "all"


def add_parser(commands: Any) -> None:
    """Add `doctor` to the commands."""
    parser = commands.add_parser(
        "doctor",
        help="check prerequisites and print a fix for each missing one",
        description="Check this machine, one line per check. Exit code 2 if a named scenario cannot run.",
        epilog="example:\n  python -m gptoss_bench doctor h100 --model openai/gpt-oss-120b",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choices = (*DOCTOR_SCENARIOS, ALL_SCENARIOS)
    parser.add_argument(
        "scenario", nargs="?", choices=choices, help="scenario to check (default: all, and exit code 0)"
    )
    parser.add_argument("--model", default="", help="model to check for instead of the profile's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Check the scenarios, print the lines, and return 2 if a named scenario cannot run, else 0."""
    names = [*DOCTOR_SCENARIOS] if args.scenario in (None, ALL_SCENARIOS) else [args.scenario]
    needs = {name: _need(name, args.model) for name in names}
    facts = gather_facts({name: need.model for name, need in needs.items() if name in DOCTOR_ENGINES})
    runnable = []
    for name in names:
        lines = examine(name, facts, needs[name])
        runnable.append(can_run(lines))
        print("\n".join([report_heading(name, lines), *map(str, lines)]), end="\n\n" if name != names[-1] else "\n")
    return 0 if args.scenario is None or all(runnable) else 2


def _need(scenario: str, model: str) -> Need:
    """Return what the scenario's profile needs of the machine."""
    file = paths.PROFILES / f"{scenario if scenario in DOCTOR_ENGINES else 'local'}.yaml"
    profile = yaml.safe_load(file.read_text(encoding="utf-8"))
    model = model or str(profile.get("model", "gpt-oss-20b"))
    sequential = scenario == "a10"  # sends one request at a time
    context = int(profile["context"]) if sequential else int(profile["max_tokens"]) + PROMPT_TOKENS
    return Need(model, _architecture(model), 1 if sequential else int(profile["concurrency"]), context)


def _architecture(model: str) -> Architecture | None:
    name = model.rpartition("/")[2].lower().replace(":", "-")
    return next((each for key, each in architectures().items() if name.startswith(key)), None)
