"""`gptoss-bench runs`: list runs, newest first."""

import json
import math
import shutil
import sys
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from gptoss_bench.cli.options import Json, ResultsFolder
from gptoss_bench.cli.output import print_json, print_table
from gptoss_client import one_line

EXAMPLE = """examples, all runs, those of vLLM without a label, and the id of the newest run of a scenario:
  gptoss-bench runs
  gptoss-bench runs --engine vllm --label ''
  gptoss-bench runs --scenario verdicts --json | jq -r '.[0].run'

TTFT and ITL are medians. load is the number of requests in flight or, of an open loop, the requests per second that
were due. tok/s is the rate of the steady window; a * marks a rate over the whole run, ramp-up and drain included."""

# Columns of the table; --json has more of them.
COLUMNS = ("run", "status", "label", "engine", "load", "failed", "TTFT s", "ITL ms", "tok/s", "lint")
NUMBERS = COLUMNS[4:9]
# What a terminal that is too narrow for all of them does not show, in this order.
LEFT_OUT = ("engine", "lint", "failed", "load", "ITL ms", "status", "label")
STATUS_CHARS = 30  # of the error of a folder that cannot be read
FILTERS = ("scenario", "engine", "label")
OVER_ALL = "*"  # behind a rate that includes ramp-up and drain


def runs(
    words: Annotated[
        list[str] | None, typer.Argument(metavar="WORD", help="words that each listed run must contain in any column")
    ] = None,
    *,
    scenario: Annotated[
        str | None, typer.Option(help="only runs whose scenario contains this, such as load or vllm-h100")
    ] = None,
    engine: Annotated[str | None, typer.Option(help="only runs whose engine contains this, such as vllm")] = None,
    label: Annotated[
        str | None, typer.Option(help="only runs whose label contains this, such as 'tiny model'; '' for no label")
    ] = None,
    results: ResultsFolder = None,
    as_json: Json = False,
) -> int:
    """List the runs of a results folder, newest first, with their main figures and lint findings."""
    from gptoss_bench import paths
    from gptoss_bench.runs import filter_runs, runs_table

    folder: Path = results or paths.RESULTS
    every = runs_table(folder)
    text = ["run", "status", *FILTERS, "lint"]
    every[text] = every[text].fillna("")
    table = filter_runs(every, words=" ".join(words or []))
    for name, wanted in zip(FILTERS, (scenario, engine, label), strict=True):
        if wanted is not None:
            values = table[name].str.casefold()
            word = one_line(wanted).casefold()
            table = table[values.str.contains(word, regex=False) if wanted else values == ""]
    if as_json:
        print_json(json.loads(table.to_json(orient="records")))
        return 0
    if every.empty:
        print(f"there is no run in {folder / 'runs'}: gptoss-bench load makes one", file=sys.stderr)
        return 0
    if table.empty:
        here = (f"{name}: {', '.join(sorted({*every[name]} - {''}))}" for name in FILTERS)
        print(f"no run in {folder / 'runs'} matches; {'; '.join(here)}", file=sys.stderr)
        return 0
    rows = [dict(zip(COLUMNS, _cells(row), strict=True)) for row in table.to_dict("records")]
    names, hidden = _fitting(rows) if sys.stdout.isatty() else (list(COLUMNS), [])
    print_table(names, [[row[name] for name in names] for row in rows], numbers=NUMBERS)
    notes = [f"{len(rows)} run{'s' * (len(rows) != 1)}, newest first"]
    if any(row["tok/s"].endswith(OVER_ALL) for row in rows):
        notes.append(f"{OVER_ALL} over the whole run, because no steady window has a rate")
    if hidden:
        notes.append(f"no room for {', '.join(hidden)}: widen the terminal, or use --json")
    print("; ".join(notes), file=sys.stderr)
    return 0


def _cells(row: Mapping[Hashable, Any]) -> list[str]:
    """Return the cells of a run, in the order of COLUMNS; what is unknown is empty."""
    from gptoss_bench.stats import NOT_RESOLVED

    def number(name: str, digits: int) -> str:
        return "" if math.isnan(row[name]) else f"{row[name]:.{digits}f}"

    load = number("concurrency", 0) or (f"{rate}/s" if (rate := number("offered_req_s", 1)) else "")
    whole = number("output_tok_s_total", 1)
    rate = number("output_tok_s", 1) or (f"{whole}{OVER_ALL}" if whole else "")
    gap = NOT_RESOLVED if row["itl_p50_ms"] == 0 else number("itl_p50_ms", 2)
    times = (number("failed", 0), number("ttft_p50_s", 3), gap)
    return [
        row["run"],
        one_line(row["status"], STATUS_CHARS),
        row["label"],
        row["engine"],
        load,
        *times,
        rate,
        row["lint"],
    ]


def _fitting(rows: list[dict[str, str]]) -> tuple[list[str], list[str]]:
    """Return the columns that a terminal has room for, and those that it has not."""
    widths = {name: max(len(name), *(len(row[name]) for row in rows)) + 2 for name in COLUMNS}
    hidden: list[str] = []
    for name in LEFT_OUT:
        if sum(widths.values()) - 2 <= shutil.get_terminal_size().columns:
            break
        del widths[name]
        hidden.append(name)
    return list(widths), hidden
