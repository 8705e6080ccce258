"""`gptoss-bench runs`: list runs, newest first."""

import json
import math
import sys
from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.options import Json, ResultsFolder
from gptoss_bench.cli.output import print_json, print_table
from gptoss_client import one_line

EXAMPLE = """examples, all runs, those of vLLM without a label, and the id of the newest run of a scenario:
  gptoss-bench runs
  gptoss-bench runs --engine vllm --label ''
  gptoss-bench runs --scenario verdicts --json | jq -r '.[0].run'"""

# Columns of the table that are printed as text, and the digits of the numbers among them; --json has all columns.
TEXT = ("run", "status", "label", "engine")
NUMBERS = {"concurrency": 0, "failed": 0, "ttft_p50_s": 3, "itl_p50_ms": 2, "output_tok_s": 1}
FILTERS = ("scenario", "engine", "label")


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
    text = list(dict.fromkeys((*FILTERS, *TEXT, "lint")))
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
    rows = [
        [
            *(str(row[name]) for name in TEXT),
            *("" if math.isnan(row[name]) else f"{row[name]:.{digits}f}" for name, digits in NUMBERS.items()),
            row["lint"],
        ]
        for _, row in table.iterrows()
    ]
    print_table((*TEXT, *NUMBERS, "lint"), rows, numbers=NUMBERS)
    return 0
