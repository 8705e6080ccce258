"""`python -m gptoss_bench draw RUN-OR-FILE… --out FILE`: results of this kit and of other tools on the same axes."""

import argparse
from pathlib import Path
from typing import Any

from gptoss_bench.files import replacing
from gptoss_bench.lint import read_results
from gptoss_client import UsageError

KINDS = (".svg", ".png", ".pdf")
EXAMPLE = """example, a run of this kit beside what other tools measured of the same server:
  python -m gptoss_bench draw results/runs/20261124T090000Z-load-0a1b2c vllm.json guidellm.json --out beside.svg"""


def add_parser(commands: Any) -> None:
    """Add `draw` to the subcommands."""
    parser = commands.add_parser(
        "draw",
        help="draw results side by side, this kit's and other tools'",
        description="Draw TTFT, ITL, TPOT and latency of run folders and of other tools' result files on one figure.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("results", type=Path, nargs="+", metavar="RUN-OR-FILE", help="run folder, or a tool's result")
    parser.add_argument("--out", type=Path, required=True, metavar="FILE", help=f"picture to write: {', '.join(KINDS)}")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Read, draw and write in one step. Raises UsageError where a result cannot be read or the picture not written."""
    kind = args.out.suffix.lower()
    if kind not in KINDS:
        raise UsageError(f"--out {args.out}: the name says what is drawn, it ends with {', '.join(KINDS)}")
    # matplotlib and seaborn take a second and tens of megabytes, which no other command has to pay
    from gptoss_bench.figures import results_beside

    figure = results_beside([result for path in args.results for result in read_results(path)])
    try:
        with replacing(args.out) as part:
            figure.savefig(part, format=kind.removeprefix("."), dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {args.out}: {error.strerror or error}") from error
    print(args.out)
    return 0
