"""`python -m gptoss_bench report`: write one page on one run, as Markdown and as self-contained HTML."""

import argparse
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_bench.runs import Run
from gptoss_bench.site import HourlyPrice, report_markdown
from gptoss_client import UsageError


def add_parser(commands: Any) -> None:
    """Add `report` to the commands."""
    parser = commands.add_parser(
        "report",
        help="write one page on a run: result block, error bar, findings, verdicts, cost and energy",
        epilog="example: python -m gptoss_bench report 20261124T090000Z-vllm-h100-0a1b2c --usd-per-hour 3.5",
    )
    parser.add_argument("run_id", nargs="?", default="", metavar="RUN", help="id or folder of a run")
    parser.add_argument(
        "--results", type=Path, default=paths.RESULTS, metavar="DIR", help="folder that holds runs/<run>"
    )
    parser.add_argument(
        "--out", type=Path, default=paths.REPORTS, metavar="DIR", help="folder for the pages (default: build/reports)"
    )
    parser.add_argument("--usd-per-hour", type=float, metavar="USD", help="price of the machine per hour")
    today = f"{datetime.now(UTC):%Y-%m-%d}"
    parser.add_argument("--price-of", default=today, metavar="DAY", help="date of that price (default: today)")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Write both pages, print their paths, and return the exit code."""
    found = _run(args.results / "runs", args.run_id)
    if args.usd_per_hour is not None and not 0 < args.usd_per_hour < float("inf"):
        raise UsageError(f"--usd-per-hour must be above 0, not {args.usd_per_hour:g}")
    price = None if args.usd_per_hour is None else HourlyPrice(args.usd_per_hour, args.price_of)
    text = report_markdown(found, price)
    # nbconvert takes seconds to import: only this command pays for it.
    from gptoss_bench.site import PageFrame, markdown_cell, render_page

    style = (paths.SITE_TEMPLATE / "style.css").read_text(encoding="utf-8")
    html = render_page([markdown_cell(text)], PageFrame(f"{found.run_id}.html", f"Run {found.run_id}", style=style))
    try:
        args.out.mkdir(parents=True, exist_ok=True)
        for ending, content in (("md", text), ("html", html)):
            file = args.out / f"{found.run_id}.{ending}"
            file.write_text(content, encoding="utf-8")
            print(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)
    except OSError as error:
        raise UsageError(f"cannot write to {args.out}: {error.strerror}; choose another --out") from error
    return 0


def _run(folder: Path, run_id: str) -> Run:
    """Read the run with that id or in that folder, or raise a UsageError that lists the runs."""
    given = Path(run_id)
    for path in [folder / run_id, given] if run_id else []:
        if (path / "manifest.json").exists():
            return Run.load(path)
    problem = f"there is no run {run_id!r}" if run_id else "no run given"
    ids = ", ".join(sorted(file.parent.name for file in folder.glob("*/manifest.json"))) or "none yet: run `make run`"
    raise UsageError(f"{problem}: name one by its id, such as make report RUN=ID; runs: {ids}")
