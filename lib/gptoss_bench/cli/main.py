"""Measure gpt-oss servers, check results, and decide published claims.

Exit codes: 0 done; 1 the run failed, completed requests were saved, or `rebuild --check` found a difference; 2 bad
usage, or `doctor SCENARIO` found that the scenario cannot run; 3 `lint` found an error; 137 the child of `attempt` was
killed. An error is one line on stderr; its traceback is appended to results/gptoss_bench.log.
"""

import argparse
import asyncio
import inspect
import os
import sys
import traceback
from collections.abc import Coroutine
from datetime import UTC, datetime
from typing import Any, NoReturn

from gptoss_bench import paths
from gptoss_bench.cli import (
    attempt,
    bench,
    compare,
    decode,
    doctor,
    draw,
    fit,
    lint,
    load,
    rebuild,
    reference_server,
    report,
    run,
    site,
)
from gptoss_client import RunFailed, UsageError

# In the order of `--help`.
COMMANDS = (
    *(load, decode, rebuild, run, doctor, fit, attempt),
    *(reference_server, bench, lint, compare, draw, site, report),
)


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """Print one line instead of the usage, and exit with argparse's own code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows the options and an example)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one command and return its exit code."""
    parser = _Parser(prog="python -m gptoss_bench", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for command in COMMANDS:
        command.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        result = args.run(args)
        code = _run_coroutine(result, args) if inspect.iscoroutine(result) else int(result)
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


def _run_coroutine(result: Coroutine[Any, Any, int], args: argparse.Namespace) -> int:
    """Run a command's coroutine on the event loop that the command asks for."""
    with asyncio.Runner(loop_factory=getattr(args, "loop_factory", None)) as runner:
        return runner.run(result)


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
