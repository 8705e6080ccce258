"""`gptoss-bench certify -- CMD`: run a load tool against the reference server and print how wrong it is."""

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json, print_table
from gptoss_client import UsageError

EXAMPLE = """example:
  gptoss-bench certify -- gptoss-bench load --url {url} --model {model} -c {streams} -n {requests} --results {out}
  gptoss-bench certify --svg certificate.svg -- vllm bench serve --base-url {url} \\
    --model {model} --backend openai-chat --endpoint /v1/chat/completions --max-concurrency {streams} \\
    --num-prompts {requests} --save-result --save-detailed --result-dir {out} …

In the command and in --result, {url}, {model}, {streams}, {requests}, {tokens} and {out}, an empty folder for results,
are replaced. Without --result, new files in {out} and in the working folder are read, else what the tool printed."""

COLUMNS = {
    "streams": "streams",
    "reported_requests": "requests",
    "lost_requests": "lost",
    "missing_events": "missing events",
    "extra_events": "extra events",
}
ERRORS = {"ttft": "TTFT", "itl": "ITL", "tpot": "TPOT", "e2e": "E2E"}


def certify(
    command: Annotated[list[str], typer.Argument(metavar="CMD...", help="the tool and its arguments, after --")],
    *,
    levels: Annotated[str, typer.Option(metavar="N,N", help="streams of each load")] = "1,16,64",
    waves: Annotated[int, typer.Option(help="requests of each stream, for {requests}")] = 3,
    result: Annotated[
        str | None,
        typer.Option(metavar="PATH", help="file or folder that the tool writes (default: look for new ones)"),
    ] = None,
    limit_s: Annotated[float, typer.Option(help="time after which the tool is stopped")] = 300.0,
    svg: Annotated[Path | None, typer.Option(metavar="FILE", help="write a figure to attach to results")] = None,
    as_json: Json = False,
) -> int:
    """Run a load tool at several loads against the reference server and compare its report with the server's log."""
    import asyncio

    from gptoss_bench.calibration import CertifiedTool, certificate_text
    from gptoss_bench.calibration import certify as certified
    from gptoss_bench.files import writing

    tool = CertifiedTool(tuple(command), _levels(levels), waves, result, limit_s)
    progress = partial(print, flush=True, file=sys.stderr)
    certificate = asyncio.run(certified(tool, Path.cwd(), progress))
    if svg is not None:
        from gptoss_bench.figures import certificate_figure

        with writing(f"--svg {svg}", "choose another file"):
            certificate_figure(certificate).savefig(svg, format="svg")
    if as_json:
        print_json(certificate.document())
        return 0
    print(f"{certificate_text(certificate)}\n")
    rows = []
    for level in certificate.levels:
        row = [_number(getattr(level, name)) for name in COLUMNS]
        for name in ERRORS:
            found = getattr(level, name)
            row += [_number(found and found.error.p50), _number(found and found.error.p99)]
        row += [
            _number(level.cpu_s),
            _number(level.cpu_us_per_event),
            level.problem or ("yes" if level.trusted else "no"),
        ]
        rows.append(row)
    heads = [head for name in ERRORS.values() for head in (f"{name} p50", "p99")]
    columns = [*COLUMNS.values(), *heads, "CPU, s", "µs per event", "trusted"]
    print_table(columns, rows, numbers=columns[:-1])
    found = [getattr(level, name) for level in certificate.levels for name in ERRORS]
    if kinds := sorted({error.of for error in found if error}):
        print(f"\nErrors are absolute values in ms, of {' or '.join(kinds)}. CPU includes the start of the tool.")
    for note in certificate.notes:
        print(f"- {note}")
    return 0


def _levels(text: str) -> tuple[int, ...]:
    try:
        return tuple(int(part) for part in text.split(",") if part.strip())
    except ValueError:
        raise UsageError(f"--levels {text}: write numbers of streams with commas, such as 1,16,64") from None


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
