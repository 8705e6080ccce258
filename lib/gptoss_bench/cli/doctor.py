"""`python -m gptoss_bench doctor`: what this machine can run, and the command that mends what it lacks."""

import argparse
from typing import Any

import yaml

from gptoss_bench import paths
from gptoss_bench.engines import DOCTOR_ENGINES, DOCTOR_SCENARIOS, Need, can_run, examine, gather_facts, report_heading
from gptoss_bench.memory import Architecture, read_architectures

PROMPT_TOKENS = 256  # of a request, beside what it may answer: more than the published prompt has
EVERY = "all"


def add_parser(commands: Any) -> None:
    """Add `doctor` and its options to the subcommands."""
    parser = commands.add_parser(
        "doctor",
        help="what this machine can run, and what it lacks",
        description="Look at this machine and print one line a check. Exit code 2 where an asked scenario cannot run.",
        epilog="example:\n  python -m gptoss_bench doctor h100 --model openai/gpt-oss-120b",
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    choices = (*DOCTOR_SCENARIOS, EVERY)
    parser.add_argument("scenario", nargs="?", choices=choices, help="default: all of them, for your information")
    parser.add_argument("--model", default="", help="another one than the profile's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return the exit code: 2 where a scenario that was asked for cannot run."""
    names = [*DOCTOR_SCENARIOS] if args.scenario in (None, EVERY) else [args.scenario]
    needs = {name: _need(name, args.model) for name in names}
    facts = gather_facts({name: need.model for name, need in needs.items() if name in DOCTOR_ENGINES})
    able = []
    for name in names:
        lines = examine(name, facts, needs[name])
        able.append(can_run(lines))
        print("\n".join([report_heading(name, lines), *map(str, lines)]), end="\n\n" if name != names[-1] else "\n")
    return 0 if args.scenario is None or all(able) else 2


def _need(scenario: str, model: str) -> Need:
    """What the scenario's profile asks for."""
    file = paths.PROFILES / f"{scenario if scenario in DOCTOR_ENGINES else 'local'}.yaml"
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    model = model or str(given.get("model", "gpt-oss-20b"))
    alone = scenario == "a10"  # its requests go one at a time
    context = int(given["context"]) if alone else int(given["max_tokens"]) + PROMPT_TOKENS
    return Need(model, _architecture(model), 1 if alone else int(given["concurrency"]), context)


def _architecture(model: str) -> Architecture | None:
    known = read_architectures(paths.ARCHITECTURES.read_text(encoding="utf-8"))
    name = model.rpartition("/")[2].lower().replace(":", "-")
    return next((each for key, each in known.items() if name.startswith(key)), None)
