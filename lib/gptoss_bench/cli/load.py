"""`gptoss-bench load`: run one closed-loop load against one server."""

import contextlib
import json
from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gptoss_bench.cli.options import FieldOption, Json, ResultsFolder, build_record, field_options, share_option
from gptoss_bench.cli.output import coloured
from gptoss_client import LoadPlan, RunFailed, UsageError

if TYPE_CHECKING:
    from gptoss_bench.engines import ServerChoice
    from gptoss_bench.runs import LoadSummary
    from gptoss_bench.session import Session
    from gptoss_client import Trace, TraceCallback

EXAMPLE = """example, the write-up's own load:
  gptoss-bench load --url http://127.0.0.1:8000 --model openai/gpt-oss-20b \\
      --concurrency 256 --requests 2000 --max-tokens 256 --prompt "Explain quantum mechanics in one paragraph."

The API key, if the server needs one, is read from the environment variable GPTOSS_API_KEY and never stored."""

REQUESTS = 1024
# Every field of LoadPlan but `options`, which --num-ctx sets, and `salt`, which is drawn for each plan.
PLAN_OPTIONS = {
    "concurrency": FieldOption("slots of the closed loop", ("--concurrency", "-c"), default=64),
    "requests": FieldOption(
        f"requests to send (default: {REQUESTS}, unless --duration is given)", ("--requests", "-n"), default=None
    ),
    "duration_s": FieldOption(
        "send for this many seconds instead of a number of requests", ("--duration",), metavar="S"
    ),
    "warmup": FieldOption("requests before the measured ones, recorded apart"),
    "prompt": FieldOption("the user's message"),
    "system": FieldOption("the system message, '' for none"),
    "prompts": FieldOption(
        "one prompt for all requests, or a new one per request, which no cache has seen",
        type=Literal["fixed", "distinct"],
    ),
    "max_tokens": FieldOption("output token limit per request", default=128),
    "temperature": FieldOption("temperature of sampling"),
    "ignore_eos": FieldOption("generate up to --max-tokens, if the engine supports it"),
    "min_tokens": FieldOption("output token minimum per request, if the engine supports it"),
    "token_counts": FieldOption("ask for a running token count in every event"),
    "timeout_s": FieldOption("timeout of a whole request", ("--timeout",), metavar="S"),
    "connect_timeout_s": FieldOption("timeout of opening a connection", ("--connect-timeout",), metavar="S"),
    "first_timeout_s": FieldOption("timeout of the first event (default: none)", ("--first-timeout",), metavar="S"),
    "idle_timeout_s": FieldOption("timeout between events (default: none)", ("--idle-timeout",), metavar="S"),
    "response_limit_mib": FieldOption(
        "a longer response fails, and the rest of it is not read", ("--response-limit",), metavar="MIB"
    ),
    "sweep": FieldOption(
        "afterwards, load again at these concurrencies, such as 1,4,16", type=str, default="", metavar="LIST"
    ),
    "sweep_waves": FieldOption("requests per slot at each of them"),
}


@field_options(LoadPlan, PLAN_OPTIONS, "Load")
def load(
    *,
    model: Annotated[str, typer.Option(help="name of the model on the server")],
    url: Annotated[str, typer.Option(help="root URL of the server")] = "http://127.0.0.1:8000",
    dialect: Annotated[
        Literal["auto", "openai", "ollama"], typer.Option(help="API of the server; auto: ask the server")
    ] = "auto",
    num_ctx: Annotated[
        int | None,
        typer.Option(help="context of Ollama in tokens (default: Ollama's, which depends on the GPU's memory)"),
    ] = None,
    until: Annotated[
        float | None,
        share_option("repeat the load until the intervals of rate, TTFT and TPOT are within this share, such as 3%"),
    ] = None,
    max_trials: Annotated[int, typer.Option(help="maximum number of loads with --until")] = 9,
    results: ResultsFolder = None,
    as_json: Json = False,
    **plan_values: Any,
) -> int:
    """Send streaming requests in a closed loop, print the result block, and write a run folder."""
    import asyncio

    from gptoss_bench.engines import ServerChoice
    from gptoss_bench.stats import MIN_TRIALS, parse_sweep_levels
    from gptoss_client import new_event_loop

    if until is not None and max_trials < MIN_TRIALS:
        raise UsageError(f"--max-trials {max_trials} is too few for an interval: give {MIN_TRIALS} or more")
    if plan_values["duration_s"] is None:
        plan_values["requests"] = REQUESTS if plan_values["requests"] is None else plan_values["requests"]
    elif plan_values["requests"] is not None:
        raise UsageError("give --requests or --duration, not both")
    plan_values["system"] = plan_values["system"] or None
    plan_values["sweep"] = parse_sweep_levels(plan_values["sweep"])
    plan_values["options"] = {} if num_ctx is None else {"num_ctx": num_ctx}
    plan = build_record(LoadPlan, PLAN_OPTIONS, plan_values)
    server = ServerChoice(url=url, model=model, dialect="" if dialect == "auto" else dialect)
    with asyncio.Runner(loop_factory=new_event_loop) as runner:
        return runner.run(_trials(plan, server, results, until=until, max_trials=max_trials, as_json=as_json))


async def _trials(
    plan: LoadPlan, server: "ServerChoice", results: Path | None, *, until: float | None, max_trials: int, as_json: bool
) -> int:
    """Measure one run, or with `until` one run per trial until the intervals are within this share."""
    from gptoss_bench.stats import intervals_within, trial_spreads, trials_text

    measured = [await _trial(plan, server, results, as_json)]
    while until is not None and len(measured) < max_trials:
        if intervals_within(trial_spreads(measured), until):
            break
        if not as_json:
            print()
        # The salt makes the prompts new to every cache, as those of the first trial were.
        measured.append(await _trial(replace(plan, salt=plan.salt + len(measured)), server, results, as_json))
    if until is not None and not as_json:
        print("\n" + "\n".join(trials_text(trial_spreads(measured), until)))
    return 0


async def _trial(plan: LoadPlan, server: "ServerChoice", results: Path | None, as_json: bool) -> "LoadSummary":
    """Measure one run, print it, and return its summary."""
    from gptoss_bench.session import serving

    show = _print_json if as_json else _print_result
    results_dir, command = str(results or ""), "python -m gptoss_bench load"
    async with serving("load", server, plan=plan, results_dir=results_dir, command=command) as session:
        try:
            with _progress_bar(plan) as progress:
                await session.load(plan, progress)
        except RunFailed:
            show(session)
            raise
        session.finish()
    show(session)
    return session.summary


@contextlib.contextmanager
def _progress_bar(plan: LoadPlan) -> Iterator["TraceCallback"]:
    """Show a progress bar on stderr, if that is a terminal."""
    from tqdm import tqdm

    from gptoss_bench.stats import sweep_plans

    levels = [level.requests or 0 for level in sweep_plans(plan)]
    total = None if plan.requests is None else plan.warmup + plan.requests + sum(levels)
    with tqdm(total=total, unit="req", disable=None, mininterval=0.5) as bar:

        def step(trace: "Trace") -> None:
            bar.update()

        yield step


def _print_result(session: "Session") -> None:
    from gptoss_bench.stats import result_block

    print(result_block(session.summary, title_line=session.title))
    for finding in session.findings:
        print(f"{coloured(finding.severity)}: {finding.evidence} [{finding.rule}]")
    print(f"run folder: {session.folder.path}")


def _print_json(session: "Session") -> None:
    """Print one line with the run, its summary and its findings."""
    file = session.folder.path / "summary.json"
    found = {
        "run": session.folder.run_id,
        "run_folder": str(session.folder.path),
        "findings": [asdict(finding) for finding in session.findings],
        "summary": json.loads(file.read_bytes()) if file.exists() else None,
    }
    print(json.dumps(found))
