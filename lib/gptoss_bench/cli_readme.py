"""`python -m gptoss_bench readme RUN`: the README's table of verdicts and its picture, from the runs that made them."""

import argparse
import base64
from pathlib import Path
from typing import Any

from gptoss_bench import claims, paths
from gptoss_bench.errors import UsageError
from gptoss_bench.store import Run

START, END = "<!-- verdicts of {run_id} -->", "<!-- end of verdicts -->"
README = paths.ROOT / "README.md"
PICTURE = paths.RESULTS / "example.png"
PICTURED = ("vllm-h100", "beside")  # the scenario, and the cell of its notebook whose figure is shown


def add_parser(commands: Any) -> None:
    """Add `readme` to the subcommands."""
    parser = commands.add_parser(
        "readme",
        help="write the README's table of verdicts from a run",
        epilog="example: python -m gptoss_bench readme results/runs/20261124T090000Z-verdicts-0a1b2c",
    )
    parser.add_argument("verdicts", type=Path, metavar="RUN", help="folder of a run of verdicts.ipynb")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replace what stands between the two marks. Raises UsageError where the run or the marks are missing."""
    found = Run.load(args.verdicts)
    README.write_text(with_verdicts(README.read_text(encoding="utf-8"), found), encoding="utf-8")
    for run_id in found.summary["runs"]:
        if Run.load(found.path.parent / run_id).scenario == PICTURED[0]:
            PICTURE.write_bytes(picture(found.path.parent / run_id / "notebook.ipynb"))
    return 0


def with_verdicts(text: str, found: Run) -> str:
    """The README's text with the table of this run between its marks, the run named in the first mark."""
    opening = START.partition("{")[0]
    before, start, rest = text.partition(opening)
    _, end, after = rest.partition(END)
    if not (start and end):
        raise UsageError(f"README.md has lost the marks {opening}… --> and {END}: put them where the table belongs")
    table = claims.verdict_markdown(claims.from_table(found.table("verdicts")))
    return f"{before}{START.format(run_id=found.run_id)}\n\n{table}\n\n{END}{after}"


def picture(notebook: Path) -> bytes:
    """The PNG that the pictured cell of an executed notebook shows. Raises UsageError where it shows none."""
    import nbformat  # takes seconds, which no other command has to pay

    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.id == PICTURED[1]:
            for output in cell.outputs:
                if png := output.get("data", {}).get("image/png"):
                    return base64.b64decode(png)
    raise UsageError(f"{notebook} has no picture in its cell {PICTURED[1]!r}")
