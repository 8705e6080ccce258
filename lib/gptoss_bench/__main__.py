"""Run the command line: `python -m gptoss_bench`."""

import sys

from gptoss_bench.cli.main import main

if __name__ == "__main__":
    sys.exit(main())
