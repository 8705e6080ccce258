"""The shell: `python -m gptoss_bench …`. Exit codes: 0 done, 1 the run failed, 2 bad usage, 3 `lint` found an error."""

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
from gptoss_bench.cli import attempt as cli_attempt
from gptoss_bench.cli import bench as cli_bench
from gptoss_bench.cli import compare as cli_compare
from gptoss_bench.cli import decode as cli_decode
from gptoss_bench.cli import doctor as cli_doctor
from gptoss_bench.cli import draw as cli_draw
from gptoss_bench.cli import fit as cli_fit
from gptoss_bench.cli import lint as cli_lint
from gptoss_bench.cli import load as cli_load
from gptoss_bench.cli import pull as cli_pull
from gptoss_bench.cli import readme as cli_readme
from gptoss_bench.cli import rebuild as cli_rebuild
from gptoss_bench.cli import reference_server as cli_truth
from gptoss_bench.cli import report as cli_report
from gptoss_bench.cli import run as cli_run
from gptoss_bench.cli import site as cli_site
from gptoss_client import RunFailed, UsageError


class _Parser(argparse.ArgumentParser):
    def error(self, message: str) -> NoReturn:
        """One line instead of the usage; argparse's own exit code 2."""
        self.exit(2, f"{self.prog}: {message} (--help shows the options and an example)\n")


def main(argv: list[str] | None = None) -> int:
    """Run one subcommand and return its exit code; what goes wrong is one line, its traceback goes to the log."""
    parser = _Parser(prog="python -m gptoss_bench", description=__doc__)
    commands = parser.add_subparsers(title="commands", required=True, metavar="COMMAND")
    for module in (
        *(cli_load, cli_decode, cli_rebuild, cli_run, cli_doctor, cli_fit, cli_attempt, cli_pull),
        *(cli_readme, cli_truth, cli_bench, cli_lint, cli_compare, cli_draw, cli_site, cli_report),
    ):
        module.add_parser(commands)
    args = parser.parse_args(argv)
    try:
        result = args.run(args)
        code = _finished(result, args) if inspect.iscoroutine(result) else int(result)
        sys.stdout.flush()
        return code
    except BrokenPipeError:
        # Its reader, such as `head`, has seen enough; what is still buffered must not be tried again at exit.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 0
    except UsageError as error:
        return _reported(error, 2)
    except RunFailed as error:
        return _reported(error, 1)
    except KeyboardInterrupt as error:
        return _reported(KeyboardInterrupt("stopped; what had ended is kept").with_traceback(error.__traceback__), 1)


def _finished(result: Coroutine[Any, Any, int], args: argparse.Namespace) -> int:
    """Run a command's coroutine, on the loop that the command prefers."""
    with asyncio.Runner(loop_factory=getattr(args, "loop_factory", None)) as runner:
        return runner.run(result)


def _reported(error: BaseException, code: int) -> int:
    print(f"gptoss_bench: {error}", file=sys.stderr)
    log = paths.RESULTS / "gptoss_bench.log"
    try:
        with log.open("a", encoding="utf-8") as file:
            file.write(f"--- {datetime.now(UTC):%Y-%m-%dT%H:%M:%SZ}\n")
            file.writelines(traceback.format_exception(error))
    except OSError:
        pass  # the line on the screen has said it all
    return code


if __name__ == "__main__":
    sys.exit(main())
