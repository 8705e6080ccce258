"""`gptoss-bench report`: write one page on one run, as Markdown and as self-contained HTML."""

from datetime import UTC, datetime
from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.options import ResultsFolder
from gptoss_bench.cli.run_ids import complete_run, find_run, nearest_runs
from gptoss_bench.files import writing
from gptoss_client import UsageError

EXAMPLE = """examples:
  gptoss-bench report 20261124T090000Z-vllm-h100-0a1b2c --usd-per-hour 3.5
  gptoss-bench report 20261124T090000Z-vllm-h100-0a1b2c --benchmark-report"""


def report(
    run: Annotated[
        str,
        typer.Argument(metavar="RUN", help="id or folder of a run", show_default=False, autocompletion=complete_run),
    ] = "",
    *,
    results: ResultsFolder = None,
    out: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder for the pages (default: build/reports)")
    ] = None,
    usd_per_hour: Annotated[float | None, typer.Option(metavar="USD", help="price of the machine per hour")] = None,
    price_of: Annotated[str | None, typer.Option(metavar="DAY", help="date of that price (default: today)")] = None,
    benchmark_report: Annotated[
        bool, typer.Option("--benchmark-report", help="write llm-d's Benchmark Report 0.2.1 (YAML) beside the pages")
    ] = False,
) -> int:
    """Write one page on a run, as Markdown and as self-contained HTML."""
    from gptoss_bench import paths

    if not run:
        runs = (results or paths.RESULTS) / "runs"
        raise UsageError(f"no run given: name one by its id, such as make report RUN=ID; {nearest_runs('', runs)}")
    path, out = find_run(run, results), out or paths.REPORTS
    if usd_per_hour is not None and not 0 < usd_per_hour < float("inf"):
        raise UsageError(f"--usd-per-hour must be above 0, not {usd_per_hour:g}")

    from gptoss_bench.importers import write_benchmark_report
    from gptoss_bench.runs import Run
    from gptoss_bench.session import showing_progress
    from gptoss_bench.site import HourlyPrice, report_on

    found = Run.load(path)
    day = price_of or f"{datetime.now(UTC):%Y-%m-%d}"
    price = None if usd_per_hour is None else HourlyPrice(usd_per_hour, day)
    with showing_progress(f"{found.run_id}: drawing its figures and writing its page"):
        page = report_on(found, price)
        files = {"md": page.markdown(), "html": page.html()}
        if benchmark_report:
            files["benchmark-report.yaml"] = write_benchmark_report(found)
    with writing(out, "choose another --out"):
        out.mkdir(parents=True, exist_ok=True)
        for ending, content in files.items():
            file = out / f"{found.run_id}.{ending}"
            file.write_text(content, encoding="utf-8")
            shown = file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file
            print(file.absolute().as_uri() if ending == "html" else shown)
    return 0
