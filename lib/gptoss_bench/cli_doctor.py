"""`python -m gptoss_bench doctor`: what this machine can run, and the command that mends what it lacks."""

import argparse
from typing import Any

import yaml

from gptoss_bench import doctor, doctor_facts, memory, paths
from gptoss_bench.architecture import Architecture

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
    choices = (*doctor.SCENARIOS, EVERY)
    parser.add_argument("scenario", nargs="?", choices=choices, help="default: all of them, for your information")
    parser.add_argument("--model", default="", help="another one than the profile's")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Examine, print, and return the exit code: 2 where a scenario that was asked for cannot run."""
    names = [*doctor.SCENARIOS] if args.scenario in (None, EVERY) else [args.scenario]
    needs = {name: _need(name, args.model) for name in names}
    facts = doctor_facts.look({name: need.model for name, need in needs.items() if name in doctor.ENGINES})
    able = []
    for name in names:
        lines = doctor.examine(name, facts, needs[name])
        able.append(doctor.can_run(lines))
        print("\n".join([doctor.heading(name, lines), *map(str, lines)]), end="\n\n" if name != names[-1] else "\n")
    return 0 if args.scenario is None or all(able) else 2


def _need(scenario: str, model: str) -> doctor.Need:
    """What the scenario's profile asks for."""
    file = paths.PROFILES / f"{scenario if scenario in doctor.ENGINES else 'local'}.yaml"
    given = yaml.safe_load(file.read_text(encoding="utf-8"))
    model = model or str(given.get("model", "gpt-oss-20b"))
    alone = scenario == "a10"  # its requests go one at a time
    context = int(given["context"]) if alone else int(given["max_tokens"]) + PROMPT_TOKENS
    return doctor.Need(model, _architecture(model), 1 if alone else int(given["concurrency"]), context)


def _architecture(model: str) -> Architecture | None:
    known = memory.read_architectures(paths.ARCHITECTURES.read_text(encoding="utf-8"))
    name = model.rpartition("/")[2].lower().replace(":", "-")
    return next((each for key, each in known.items() if name.startswith(key)), None)
