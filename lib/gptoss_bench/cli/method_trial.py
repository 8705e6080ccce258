"""`gptoss-bench method-trial`: run the published method against servers whose first token comes at a known time."""

from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json, print_table

EXAMPLE = """example, about 15 seconds without a GPU:
  gptoss-bench method-trial"""


def method_trial(
    *,
    requests: Annotated[int, typer.Option(help="requests at once in the first case; the others have a quarter")] = 256,
    tokens: Annotated[int, typer.Option(help="tokens of a reply")] = 256,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder that gets runs/<run> (default: results)")
    ] = None,
    as_json: Json = False,
) -> int:
    """Print what the published method calls TTFT beside the true time to the first token, case by case."""
    import asyncio

    from gptoss_bench import paths
    from gptoss_bench.calibration import trial_cases, trial_table, trial_text, try_published_method
    from gptoss_bench.runs import MethodTrialSummary, RunFolder
    from gptoss_bench.session import showing_progress

    cases = trial_cases(requests, tokens)
    with RunFolder.create(
        results or paths.RESULTS,
        "method-trial",
        parameters={"trial_requests": requests, "trial_tokens": tokens},
        command="gptoss-bench method-trial",
    ) as folder:
        with showing_progress("running the script of the write-up against servers whose TTFT is known"):
            rows, endpoint = asyncio.run(try_published_method(cases))
        folder.set_endpoint(endpoint)
        run = folder.finish(MethodTrialSummary(rows=rows))
    if as_json:
        print_json({"run_folder": run.path, "rows": [row.document() for row in rows]})
        return 0
    table = trial_table(rows)
    shown = [[one if isinstance(one, str) else f"{one:.5g}" for one in row] for row in table.itertuples(index=False)]
    columns = [str(name) for name in table]
    print_table(columns, shown, numbers=columns[1:])
    print(f"\n{trial_text(rows[0])}\n{rows[0].http}\nrun folder: {run.path}")
    return 0
