"""Run the command line: `gptoss-bench` and `python -m gptoss_bench`."""

import signal
import sys


def main() -> int:
    """Run the command in the arguments of this process and return its exit code."""
    try:
        from gptoss_bench.cli.main import main as run_command

        return run_command()
    except KeyboardInterrupt:
        print("gptoss_bench: stopped", file=sys.stderr)
        return 1
    finally:
        signal.signal(signal.SIGINT, signal.SIG_DFL)  # the rest of the exit shows no traceback


if __name__ == "__main__":
    sys.exit(main())
