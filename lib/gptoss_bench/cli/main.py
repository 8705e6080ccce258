"""Run the commands of `gptoss-bench`, which `python -m gptoss_bench` runs too, and report their errors.

`COMMANDS` lists them; the module of a command is imported when the command is used. Exit codes: 0 done; 1 the run
failed, completed requests were saved, or `rebuild --check` found a difference; 2 bad usage, or `doctor SCENARIO` found
that the scenario cannot run; 3 `lint` found an error; 137 the child of `attempt` was killed. An error is one line on
stderr; the traceback of an error in a command is appended to results/gptoss_bench.log.
"""

import os
import sys
import traceback
from collections.abc import Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from gptoss_bench import paths
from gptoss_bench.cli.usage_errors import usage_message
from gptoss_client import RunFailed, UsageError

PROGRAM = "gptoss-bench"
MEASURE, VERDICTS, RUNS, MEMORY = "Measure", "Verdicts", "Runs", "Memory"
SETUP, MAINTAINERS = "Set-up", "For maintainers"
# Name of each command: its group and its line in `--help`, in the order of `--help`.
COMMANDS = {
    "load": (MEASURE, "measure a server and write a run folder"),
    "run": (MEASURE, "execute notebooks with a profile's parameters and print the verdicts"),
    "lint": (VERDICTS, "check what makes a result untrustworthy; exit code 3 for an error"),
    "compare": (VERDICTS, "compare two results: same, faster, slower or cannot tell"),
    "report": (VERDICTS, "write one page on a run: result block, error bar, findings, verdicts, cost and energy"),
    "site": (VERDICTS, "render the executed notebooks of runs into a site that needs no network"),
    "runs": (RUNS, "list runs, newest first"),
    "draw": (RUNS, "draw results of this kit and of other tools side by side"),
    "decode": (RUNS, "print a recorded response, one JSON object per event"),
    "rebuild": (RUNS, "derive a run's tables, summary and findings again from its raw bytes"),
    "fit": (MEMORY, "compute what a model needs on a GPU, and the largest context and number of sequences that fit"),
    "attempt": (MEMORY, "load a model into limited memory in a child process"),
    "doctor": (SETUP, "check prerequisites and print a fix for each missing one"),
    "bench": (MAINTAINERS, "compare this client with others against the reference server"),
    "reference-server": (MAINTAINERS, "serve paced tokens and log when each was sent"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code."""
    try:
        return command_group().main(argv, prog_name=PROGRAM, standalone_mode=False) or 0
    except TyperException as error:
        print(f"gptoss_bench: {usage_message(error)}", file=sys.stderr)
        return error.exit_code


@cache
def command_group() -> TyperGroup:
    """Return the group of all commands, without their modules."""
    app = typer.Typer(cls=_Group)
    app.callback(invoke_without_command=True, epilog="`gptoss-bench COMMAND --help` has the options and an example.")(
        _without_command
    )
    group = typer.main.get_command(app)
    assert isinstance(group, TyperGroup)
    for name, (panel, line) in COMMANDS.items():
        group.add_command(_LazyCommand(name, help=line, rich_help_panel=panel))
    return group


def _without_command(
    context: typer.Context,
    version: Annotated[bool, typer.Option("--version", help="print the version and exit")] = False,
) -> None:
    """Measure gpt-oss servers, check results, and decide published claims."""
    if version:
        from importlib.metadata import version as version_of

        print(f"{PROGRAM} {version_of(PROGRAM)}")
        raise typer.Exit
    if context.invoked_subcommand is None:
        context.get_help()
        raise typer.Exit


def load_command(name: str) -> TyperCommand:
    """Import the module of a command and return the command with its options."""
    identifier = name.replace("-", "_")
    module = import_module(f"gptoss_bench.cli.{identifier}")
    app = typer.Typer(add_completion=False)
    app.command(name, cls=_Command, epilog=module.EXAMPLE)(getattr(module, identifier))
    command = typer.main.get_command(app)
    assert isinstance(command, TyperCommand)
    return command


class _Group(TyperGroup):
    """The group of all commands; its own options are flags."""

    def get_params(self, ctx: Any) -> list[Any]:
        params = super().get_params(ctx)
        for flag in params:
            # For a flag without a default typer imports pydantic, before `--help` of a command too.
            flag.default = flag.default or False
        return params


class _LazyCommand(TyperCommand):
    """The name, line and group of a command, for the list of commands; its module is imported to parse arguments."""

    def make_context(self, info_name: str | None, args: list[str], parent: Any = None, **extra: Any) -> Any:
        return load_command(str(self.name)).make_context(info_name, args, parent, **extra)


class _Command(TyperCommand):
    """A command whose errors become one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> int:
        try:
            code = int(super().invoke(ctx))
            sys.stdout.flush()
            return code
        except BrokenPipeError:
            # The reader, such as `head`, has closed the pipe: Python must not flush the buffered rest at exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            return 0
        except UsageError as error:
            return _report(error, 2)
        except RunFailed as error:
            return _report(error, 1)
        except KeyboardInterrupt as error:
            stopped = KeyboardInterrupt("stopped; completed requests were saved")
            return _report(stopped.with_traceback(error.__traceback__), 1)


def _report(error: BaseException, code: int) -> int:
    print(f"gptoss_bench: {error}", file=sys.stderr)
    log = paths.RESULTS / "gptoss_bench.log"
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"--- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        pass  # the message is on stderr already
    return code
