"""Run the commands of `gptoss-bench`, which `python -m gptoss_bench` runs too, and report their errors.

`COMMANDS` lists them; the module of a command is imported when the command is used. Exit codes: 0 done; 1 the run
failed, completed requests were saved, or `rebuild --check` found a difference; 2 bad usage, or `doctor SCENARIO` found
that the scenario cannot run; 3 `lint` or `audit` found an error, `verify` refused a run, or a
limit of `compare --fail-if` does not hold; 137 the child of `attempt` was killed. An error is one line on
stderr, also an unexpected one (exit code 1); its traceback is appended to gptoss_bench.log in the results folder.
"""

import contextlib
import errno
import io
import os
import re
import sys
import traceback
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Annotated, Any

import typer
from typer.core import TyperCommand, TyperGroup
from typer.exceptions import TyperException

from gptoss_bench import paths
from gptoss_bench.cli.usage_errors import usage_message
from gptoss_bench.session import stop_on_signals
from gptoss_client import RunFailed, UsageError, hide_secrets, one_line, printable_text

PROGRAM = "gptoss-bench"
INTERRUPTED_EARLY = 130  # typer's code for SIGINT outside of a command
ERROR_CHARS = 300
SHOWN_CHARS = 60  # of a name that is too long
SETUP, MEASURE, READ = "Set up", "Measure a server", "Read and share results"
CHECK, MEMORY, MAINTAINERS = "Check results, yours and those of others", "Memory", "For maintainers"
# Name of each command: its group and its line in `--help`, in the order of `--help`: that in which they are needed.
COMMANDS = {
    "doctor": (SETUP, "check what this machine lacks, and print a fix for each missing thing"),
    "pack-gpu": (SETUP, "build what a GPU machine without a network needs to measure vLLM"),
    "load": (MEASURE, "send a load to a server, print the result and write a run folder"),
    "run": (MEASURE, "execute notebooks with the parameters of a profile, and print results or verdicts"),
    "lab": (MEASURE, "open copies of the notebooks in JupyterLab"),
    "capacity": (MEASURE, "search for the highest load that a server carries within an SLO"),
    "calibrate": (MEASURE, "measure the client's own timing errors on this machine"),
    "method-trial": (MEASURE, "try the published method on a server whose first token is known"),
    "certify": (MEASURE, "run any load tool against a server whose times are known, and print how wrong it is"),
    "runs": (READ, "list runs, newest first"),
    "report": (READ, "write one page on a run: result, error bar, findings, verdicts, cost and energy"),
    "compare": (READ, "compare two results: same, faster, slower or cannot tell"),
    "draw": (READ, "draw results of this kit and of other tools side by side"),
    "site": (READ, "write the pages of executed runs, which need no network"),
    "decode": (READ, "print a recorded response, one JSON object per event"),
    "rebuild": (READ, "derive the tables, summary and findings of a run again from its raw bytes"),
    "lint": (CHECK, "print what makes a result untrustworthy; exit code 3 for an error"),
    "audit": (CHECK, "judge a published benchmark from its file or its text; exit code 3 for an error"),
    "verify": (CHECK, "check that the run of somebody else agrees with its raw bytes; exit code 3 if refused"),
    "fit": (MEMORY, "compute what a model needs on a GPU, and the context and sequences that fit"),
    "attempt": (MEMORY, "load a model into limited memory in a child process"),
    "random-checkpoint": (MEMORY, "write a model with random weights, to measure speed without a download"),
    "bench": (MAINTAINERS, "compare this client with others against the reference server"),
    "reference-server": (MAINTAINERS, "serve paced tokens and log when each was sent"),
}


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; without `argv`, prepare signals and streams of this process for it."""
    if argv is None:
        _prepare_process()
    try:
        code = command_group().main(argv, prog_name=PROGRAM, standalone_mode=False) or 0
    except TyperException as error:
        print(f"gptoss_bench: {_line(usage_message(error))}", file=sys.stderr)
        return error.exit_code
    except (Exception, KeyboardInterrupt) as error:
        return _report(error)
    return _report(KeyboardInterrupt()) if code == INTERRUPTED_EARLY else code


def _prepare_process() -> None:
    """Make signals stop the command, and standard streams accept any text, also if they were closed at the start."""
    stop_on_signals()
    for descriptor in range(3):
        try:
            os.fstat(descriptor)
        except OSError:
            os.open(os.devnull, os.O_RDWR)  # takes this number: no file of a run may get it
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is None:
            setattr(sys, name, open(os.devnull, "w", encoding="utf-8"))  # noqa: SIM115 - open until the process ends
        elif isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


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
    examples = re.sub(r"(?m)^(\S.*)\n(?=\S)", r"\1 ", module.EXAMPLE)  # a terminal breaks prose at its own width
    app.command(name, cls=_Command, epilog=examples)(getattr(module, identifier))
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
        except (Exception, KeyboardInterrupt) as error:
            return _report(error, _results_folder(ctx.params))


def _report(error: BaseException, results: Path = paths.RESULTS) -> int:
    """Print an error as one line, append its traceback to the log of the results folder, and return the exit code."""
    while isinstance(error, BaseExceptionGroup):
        error = error.exceptions[0]
    _drop_unwritable_output()
    if isinstance(error, OSError) and error.errno == errno.ENAMETOOLONG:  # only an argument can be so long
        error = UsageError(f"the name {one_line(str(error.filename), SHOWN_CHARS)} is too long for a file")
    if isinstance(error, BrokenPipeError):  # the reader, such as `head`, has closed the pipe
        return 0
    log = results / "gptoss_bench.log"
    for text in _mistakes(_one_line(error, log)):
        print(f"gptoss_bench: {_line(text)}", file=sys.stderr)
    with contextlib.suppress(OSError), log.open("a", encoding="utf-8", errors="backslashreplace") as file:
        file.write(f"--- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
        file.write(_shown("".join(traceback.format_exception(error))))
    return 2 if isinstance(error, UsageError) else 1


def _mistakes(text: str) -> list[str]:
    """Return the lines of a text that names a file on each of them, such as the mistakes of a claims file; else it."""
    lines = text.split("\n")
    return lines if len({line.partition(": ")[0] for line in lines}) == 1 else [text]


def _line(text: str) -> str:
    """Return text as `_shown`, as one line."""
    return _shown(text).replace("\n", "\\n")


def _shown(text: str) -> str:
    """Return text for a terminal and the log: without secrets, with escapes for what is not printable."""
    return printable_text(hide_secrets(text))


def _one_line(error: BaseException, log: Path) -> str:
    if isinstance(error, UsageError | RunFailed):
        return str(error)
    if isinstance(error, KeyboardInterrupt):
        return str(error) or "stopped"
    text = " ".join(str(error).split())
    shown = text if len(text) <= ERROR_CHARS else f"{text[:ERROR_CHARS]}…"
    if isinstance(error, OSError):
        return shown
    return f"unexpected {type(error).__name__}{f': {shown}' if shown else ''}; its traceback is in {log}"


def _results_folder(params: Mapping[str, Any]) -> Path:
    """Return the results folder that a command was given, by name or with the folder of a run in it."""
    if isinstance(results := params.get("results"), Path):
        return results
    with contextlib.suppress(OSError, ValueError, TypeError):
        run = Path(params.get("run") or "")
        if (run / "manifest.json").exists():
            return run.absolute().parents[1]
    return paths.RESULTS


def _drop_unwritable_output() -> None:
    """Flush stdout; if that fails, let Python flush the rest to the null device at exit."""
    try:
        sys.stdout.flush()
    except (OSError, ValueError):
        with contextlib.suppress(OSError, ValueError):
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
