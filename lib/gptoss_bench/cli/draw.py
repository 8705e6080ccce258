"""`python -m gptoss_bench draw RUN-OR-FILE… --out FILE`: draw results of this kit and of other tools on one figure."""

import argparse
from pathlib import Path
from typing import Any

from gptoss_bench.files import replacing
from gptoss_bench.lint import read_results
from gptoss_client import UsageError

PICTURE_FORMATS = (".svg", ".png", ".pdf")
EXAMPLE = """example, a run of this kit beside the results of other tools for the same server:
  python -m gptoss_bench draw results/runs/20261124T090000Z-load-0a1b2c vllm.json guidellm.json --out beside.svg"""


def add_parser(commands: Any) -> None:
    """Add `draw` to the commands."""
    parser = commands.add_parser(
        "draw",
        help="draw results of this kit and of other tools side by side",
        description="Draw TTFT, ITL, TPOT and latency of run folders and of other tools' result files in one figure.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "results", type=Path, nargs="+", metavar="RUN-OR-FILE", help="run folder, or result file of another tool"
    )
    parser.add_argument(
        "--out", type=Path, required=True, metavar="FILE", help=f"picture to write: {', '.join(PICTURE_FORMATS)}"
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read the results, write the figure, print its path, and return the exit code."""
    ending = args.out.suffix.lower()
    if ending not in PICTURE_FORMATS:
        raise UsageError(f"--out {args.out}: the name must end in {', '.join(PICTURE_FORMATS)}")
    # matplotlib and seaborn take a second to import: only this command pays for them.
    from gptoss_bench.figures import results_side_by_side

    figure = results_side_by_side([result for path in args.results for result in read_results(path)])
    try:
        with replacing(args.out) as part:
            figure.savefig(part, format=ending.removeprefix("."), dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {args.out}: {error.strerror or error}") from error
    print(args.out)
    return 0
