"""`gptoss-bench doctor`: check prerequisites and print a fix for each missing one."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import coloured, print_json
from gptoss_bench.cli.usage_errors import did_you_mean
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.engines import Need
    from gptoss_bench.memory import Architecture

EXAMPLE = """example:
  gptoss-bench doctor h100 --model openai/gpt-oss-120b"""
PROMPT_TOKENS = 256  # per request, more than the published prompt has
ALL_SCENARIOS = "all"


def _scenarios() -> list[str]:
    from gptoss_bench.engines import CHECKED_ENGINES, DOCTOR_SCENARIOS

    return [*DOCTOR_SCENARIOS, *CHECKED_ENGINES, ALL_SCENARIOS]


def doctor(
    scenario: Annotated[
        str | None,
        typer.Argument(help="scenario or engine (default: all scenarios, exit code 0)", autocompletion=_scenarios),
    ] = None,
    *,
    model: Annotated[str, typer.Option(help="model to check for instead of the profile's", show_default=False)] = "",
    as_json: Json = False,
) -> int:
    """Check this machine, one line per check. The exit code is 2 if a named scenario or engine cannot run."""
    from gptoss_bench.engines import (
        CHECKED_ENGINES,
        DOCTOR_ENGINES,
        DOCTOR_SCENARIOS,
        can_run,
        examine,
        gather_facts,
        report_heading,
    )

    if scenario is not None and scenario not in _scenarios():
        raise UsageError(f"there is no scenario {scenario!r}: {did_you_mean(scenario, _scenarios())}")
    names = [*DOCTOR_SCENARIOS] if scenario in (None, ALL_SCENARIOS) else [scenario]
    needs = {name: _need(name, model) for name in names}
    engines = {DOCTOR_ENGINES.get(name, name) for name in names} & {*CHECKED_ENGINES}
    facts = gather_facts({name: need.model for name, need in needs.items() if name in DOCTOR_ENGINES}, engines)
    found = {name: examine(name, facts, needs[name]) for name in names}
    if as_json:
        print_json(
            [
                {"scenario": name, "can_run": can_run(lines), "checks": [asdict(line) for line in lines]}
                for name, lines in found.items()
            ]
        )
    else:
        texts = (
            [report_heading(name, lines), *(str(line).replace(line.state, coloured(line.state), 1) for line in lines)]
            for name, lines in found.items()
        )
        print("\n\n".join("\n".join(text) for text in texts))
    return 0 if scenario is None or all(map(can_run, found.values())) else 2


def _need(scenario: str, model: str) -> "Need":
    """Return what the scenario's profile needs of the machine."""
    import yaml

    from gptoss_bench import paths
    from gptoss_bench.engines import DOCTOR_ENGINES, Need

    file = paths.PROFILES / f"{scenario if scenario in DOCTOR_ENGINES else 'local'}.yaml"
    profile = yaml.safe_load(file.read_text(encoding="utf-8"))
    model = model or str(profile.get("model", "gpt-oss-20b"))
    sequential = scenario == "a10"  # sends one request at a time
    context = int(profile["context"]) if sequential else int(profile["max_tokens"]) + PROMPT_TOKENS
    return Need(model, _architecture(model), 1 if sequential else int(profile["concurrency"]), context)


def _architecture(model: str) -> "Architecture | None":
    from gptoss_bench.memory import architectures

    name = model.removeprefix("random:").rpartition("/")[2].lower().replace(":", "-")
    return next((each for key, each in architectures().items() if name.startswith(key)), None)
