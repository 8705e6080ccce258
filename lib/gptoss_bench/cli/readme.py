"""`python -m gptoss_bench readme RUN`: write the verdicts, calibration or bench tables of a run into the README."""

import argparse
import base64
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.calibration import PeerBench, calibration_markdown, is_peer_bench, load_peer_bench
from gptoss_bench.claims import verdict_markdown, verdicts_from_table
from gptoss_bench.runs import Run
from gptoss_client import UsageError

START, END = "<!-- verdicts of {run_id} -->", "<!-- end of verdicts -->"
CALIBRATION_START, CALIBRATION_END = "<!-- calibration of {run_id} -->", "<!-- end of calibration -->"
BENCH_START, BENCH_END = "<!-- bench of {run_id} -->", "<!-- end of bench -->"
README = paths.ROOT / "README.md"
PICTURE = paths.RESULTS / "example.png"
PICTURED = ("vllm-h100", "beside")  # scenario and notebook cell of the figure


def add_parser(commands: Any) -> None:
    """Add `readme` to the commands."""
    parser = commands.add_parser(
        "readme",
        help="write the README's tables from a run of verdicts, a calibration or a bench",
        epilog="example: python -m gptoss_bench readme results/runs/20261124T090000Z-verdicts-0a1b2c",
    )
    parser.add_argument(
        "verdicts",
        type=Path,
        metavar="RUN",
        help="folder of a run of verdicts.ipynb or calibration.ipynb, or of a bench",
    )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Replace the table between the two marks of its kind and return the exit code."""
    if is_peer_bench(args.verdicts):
        measured = load_peer_bench(args.verdicts)
        README.write_text(with_bench(README.read_text(encoding="utf-8"), measured), encoding="utf-8")
        return 0
    found = Run.load(args.verdicts)
    if found.scenario == "calibration":
        README.write_text(with_calibration(README.read_text(encoding="utf-8"), found), encoding="utf-8")
        return 0
    README.write_text(with_verdicts(README.read_text(encoding="utf-8"), found), encoding="utf-8")
    for run_id in found.summary["runs"]:
        if Run.load(found.path.parent / run_id).scenario == PICTURED[0]:
            PICTURE.write_bytes(picture(found.path.parent / run_id / "notebook.ipynb"))
    return 0


def with_verdicts(text: str, found: Run) -> str:
    """Return the README's text with the verdicts of this run between their marks."""
    table = verdict_markdown(verdicts_from_table(found.table("verdicts")))
    return _between(text, START, END, found.run_id, table)


def with_calibration(text: str, found: Run) -> str:
    """Return the README's text with the table and the limit of this calibration between their marks."""
    return _between(text, CALIBRATION_START, CALIBRATION_END, found.run_id, calibration_markdown(found.table("levels")))


def with_bench(text: str, found: PeerBench) -> str:
    """Return the README's text with the tables of this bench between their marks."""
    return _between(text, BENCH_START, BENCH_END, found.path.name, found.markdown())


def _between(text: str, start: str, end: str, run_id: str, table: str) -> str:
    opening = start.partition("{")[0]
    before, begun, rest = text.partition(opening)
    _, ended, after = rest.partition(end)
    if not (begun and ended):
        raise UsageError(f"README.md has no marks {opening}… --> and {end}: add them where the table belongs")
    return f"{before}{start.format(run_id=run_id)}\n\n{table}\n\n{end}{after}"


def picture(notebook: Path) -> bytes:
    """Return the PNG of the pictured cell of an executed notebook."""
    import nbformat  # takes seconds to import: only this command pays for it

    for cell in nbformat.read(notebook, as_version=4).cells:
        if cell.id == PICTURED[1]:
            for output in cell.outputs:
                if png := output.get("data", {}).get("image/png"):
                    return base64.b64decode(png)
    raise UsageError(f"{notebook} has no picture in its cell {PICTURED[1]!r}")
