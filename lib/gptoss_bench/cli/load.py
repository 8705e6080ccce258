"""`gptoss-bench load`: run one load against one server."""

import contextlib
import json
from collections.abc import Awaitable, Callable, Iterator, Sequence
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gptoss_bench.cli.compare import difference_lines
from gptoss_bench.cli.options import (
    CaFile,
    FieldOption,
    Json,
    ResultsFolder,
    build_record,
    field_options,
    share_option,
    use_ca_file,
)
from gptoss_bench.cli.output import print_findings
from gptoss_client import LoadPlan, RunFailed, UsageError

if TYPE_CHECKING:
    from gptoss_bench.engines import ServerChoice
    from gptoss_bench.fleet import Fleet
    from gptoss_bench.runs import Run, Slo, WorkerProgress
    from gptoss_bench.session import Session
    from gptoss_bench.stats import Difference

EXAMPLE = """example, the write-up's own load:
  gptoss-bench load --url http://127.0.0.1:8000 --model openai/gpt-oss-20b \\
      --concurrency 256 --requests 2000 --max-tokens 256 --prompt "Explain quantum mechanics in one paragraph."

Two servers in turn, three runs of each, and which one is faster:
  gptoss-bench load --url http://127.0.0.1:8000 --url http://127.0.0.1:8001 --model openai/gpt-oss-20b --repeats 3

The API key, if the server needs one, is read from the environment variable GPTOSS_API_KEY and never stored."""

REQUESTS = 1024
URL = "http://127.0.0.1:8000"
# Every field of LoadPlan but `options`, which --num-ctx sets, and what the kit finds out: `salt`, hashes of files,
# `tokens_per_word`.
PLAN_OPTIONS = {
    "concurrency": FieldOption(
        "slots of the closed loop; with --rate: connections that are opened ahead", ("--concurrency", "-c"), default=64
    ),
    "rate": FieldOption(
        "open loop: requests/s that arrive on their own: 12, steps such as 5:30,10:30 (5/s for 30 s, then 10/s), or a"
        " ramp such as 5-50:120",
        type=str,
        metavar="R",
    ),
    "arrivals": FieldOption("gaps between the arrivals of --rate", type=Literal["poisson", "constant", "gamma"]),
    "burstiness": FieldOption("shape of gamma gaps: below 1 burstier than Poisson, above 1 more even"),
    "arrival_seed": FieldOption("seed of the arrivals: the same seed gives the same times"),
    "max_in_flight": FieldOption("of --rate: a request that is due above this limit is not sent, and fails"),
    "replay": FieldOption(
        "open loop: requests arrive at the times of a trace, a .csv or .jsonl with a column timestamp in seconds or as"
        " ISO time",
        type=str,
        metavar="FILE",
    ),
    "replay_speed": FieldOption("replay the trace so many times as fast", metavar="X"),
    "requests": FieldOption(
        f"requests to send (default: {REQUESTS}; with --duration or --replay all of it)",
        ("--requests", "-n"),
        default=None,
    ),
    "duration_s": FieldOption(
        "send for this many seconds instead of a number of requests", ("--duration",), metavar="S"
    ),
    "warmup": FieldOption("requests before the measured ones, recorded apart"),
    "prompt": FieldOption("the user's message"),
    "system": FieldOption("the system message, '' for none"),
    "prompts": FieldOption(
        "one prompt for all requests, or a new one per request, which no cache has seen; synthetic needs"
        " --prompt-tokens, file --prompts-file",
        type=Literal["fixed", "distinct", "synthetic", "file"],
    ),
    "prompts_file": FieldOption(
        "send the prompts of a .jsonl, .json or .csv in their order: columns prompt or messages (ShareGPT's too), or"
        " input_tokens, and output_tokens",
        metavar="FILE",
        type=str,
    ),
    "prompt_tokens": FieldOption(
        "prompts of random words, of so many tokens: 512, 100-1000, or lognormal:MEDIAN:SIGMA:MOST",
        metavar="LENGTHS",
        type=str,
    ),
    "prefix_share": FieldOption("share of each prompt of --prompt-tokens that is the same in all", metavar="SHARE"),
    "turns": FieldOption(
        "hold conversations of so many turns: 4, 2-8, exponential:MEAN:MOST; of --prompts-file at most those of a row",
        metavar="LENGTHS",
        type=str,
    ),
    "think_time": FieldOption(
        "time from an answer to the next turn: 2s, 1-3s, exponential:MEAN:MOST or lognormal:MEDIAN:SIGMA:MOST"
        " (default: none)",
        metavar="SECONDS",
        type=str,
    ),
    "max_tokens": FieldOption("output token limit per request", default=128),
    "output_tokens": FieldOption(
        "output token limits drawn per request, in place of --max-tokens: as --prompt-tokens",
        metavar="LENGTHS",
        type=str,
    ),
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
    "think": FieldOption(
        "reasoning effort, for Ollama's own API (default: the server's, medium)",
        type=Literal["low", "medium", "high"],
        default=None,
    ),
    "sweep": FieldOption(
        "afterwards, load again at these concurrencies, such as 1,4,16", type=str, default="", metavar="LIST"
    ),
    "sweep_waves": FieldOption("requests per slot at each of them"),
    "sweep_prompts": FieldOption(
        "where the load has one prompt for all requests: distinct ones in the sweep, which no prefix cache has seen, or"
        " the same",
        type=Literal["distinct", "same"],
    ),
}


@field_options(LoadPlan, PLAN_OPTIONS, "Load")
def load(
    *,
    model: Annotated[
        list[str] | None,
        typer.Option(help="name of the model on the server; one for all, or one per --url (default: its only one)"),
    ] = None,
    url: Annotated[
        list[str] | None,
        typer.Option(help=f"root URL of the server; given twice: load both in turn and compare them (default: {URL})"),
    ] = None,
    dialect: Annotated[
        Literal["auto", "openai", "ollama"], typer.Option(help="API of the server; auto: ask the server")
    ] = "auto",
    label: Annotated[
        str, typer.Option(help="label of a server that does not report it, such as 'RANDOM WEIGHTS'")
    ] = "",
    num_ctx: Annotated[
        int | None,
        typer.Option(help="context of Ollama in tokens (default: Ollama's, which depends on the GPU's memory)"),
    ] = None,
    repeats: Annotated[
        int, typer.Option(min=1, help="run the load so many times, each in a run folder of its own")
    ] = 1,
    until: Annotated[
        float | None,
        share_option("repeat the load until the intervals of rate, TTFT and TPOT are within this share, such as 3%"),
    ] = None,
    max_trials: Annotated[int, typer.Option(help="maximum number of loads with --until")] = 9,
    slo: Annotated[
        str | None,
        typer.Option(metavar="LIMITS", help="limits that a good request meets, such as ttft=0.5s,tpot=30ms,e2e=10s"),
    ] = None,
    workers: Annotated[
        str,
        typer.Option(metavar="N|auto", help="processes that send the load together; auto: as many as it needs"),
    ] = "1",
    fleet: Annotated[
        str | None,
        typer.Option(metavar="dask://HOST:PORT", help="send with one process on each worker of a Dask cluster"),
    ] = None,
    cacert: CaFile = None,
    results: ResultsFolder = None,
    as_json: Json = False,
    **plan_values: Any,
) -> int:
    """Send streaming requests in a closed or an open loop, print the result block, and write a run folder per run."""
    import asyncio

    from gptoss_bench.engines import ServerChoice, clean_url
    from gptoss_bench.stats import parse_slo, parse_sweep_levels
    from gptoss_client import new_event_loop, rate_seconds

    urls, models = url or [URL], model or [""]
    for at in urls:  # before the first of them is loaded
        clean_url(at)
    if until is not None and (repeats > 1 or len(urls) > 1):
        raise UsageError("--until decides how often one server is loaded: give it without --repeats and a second --url")
    use_ca_file(cacert)
    if len(models) not in (1, len(urls)):
        raise UsageError(f"--model is given {len(models)} times for {len(urls)} --url: give it once, or once per --url")
    if plan_values["rate"] is not None and plan_values["requests"] is None and plan_values["duration_s"] is None:
        plan_values["duration_s"] = rate_seconds(plan_values["rate"])
    if plan_values["duration_s"] is None and plan_values["replay"] is None:
        plan_values["requests"] = REQUESTS if plan_values["requests"] is None else plan_values["requests"]
    elif plan_values["duration_s"] is not None and plan_values["requests"] is not None:
        raise UsageError("give --requests or --duration, not both")
    plan_values["system"] = plan_values["system"] or None
    plan_values["sweep"] = parse_sweep_levels(plan_values["sweep"])
    plan_values["options"] = {} if num_ctx is None else {"num_ctx": num_ctx}
    plan = build_record(LoadPlan, PLAN_OPTIONS, plan_values)
    names = models * len(urls) if len(models) == 1 else models
    dialect_name = "" if dialect == "auto" else dialect
    servers = [
        ServerChoice(url=at, model=name, dialect=dialect_name, label=label)
        for at, name in zip(urls, names, strict=True)
    ]
    limits = None if slo is None else parse_slo(slo)

    # What can be wrong was checked before pandas is imported.
    from gptoss_bench.session import choose_fleet, telling_what_is_kept
    from gptoss_bench.stats import MIN_TREND_RUNS

    if until is not None and max_trials < MIN_TREND_RUNS:
        raise UsageError(f"--max-trials {max_trials} is too few: --until makes {MIN_TREND_RUNS} runs or more")
    most = repeats if until is None else max_trials
    with telling_what_is_kept() as runs, asyncio.Runner(loop_factory=new_event_loop) as runner:
        chosen = runner.run(choose_fleet(workers, plan, servers[0], results, address=fleet))
        measure = partial(_run, runs=runs, results=results, slo=limits, fleet=chosen, as_json=as_json)
        return runner.run(_repeat(plan, servers, measure, most=most, until=until, as_json=as_json))


async def _repeat(
    plan: LoadPlan,
    servers: "Sequence[ServerChoice]",
    measure: "Callable[[LoadPlan, ServerChoice, str], Awaitable[Run]]",
    *,
    most: int,
    until: float | None,
    as_json: bool,
) -> int:
    """Load the servers in turn, `most` times or `until` the intervals are within this share, and compare them."""
    from gptoss_bench.runs import new_repeat_group
    from gptoss_bench.stats import intervals_within, run_spreads

    groups = [new_repeat_group(most) for _ in servers]
    measured: list[list[Run]] = [[] for _ in servers]
    for number in range(most):
        # The salt makes the prompts new to every cache, as those of the first run were; the arrivals differ too.
        salted = replace(plan, salt=plan.salt + number, arrival_seed=plan.arrival_seed + number)
        # A B, B A, A B: a drift of the machine is the same for both.
        for at in range(len(servers))[:: -1 if number % 2 else 1]:
            if any(measured) and not as_json:
                print()
            measured[at].append(await measure(salted, servers[at], groups[at]))
        if until is not None and intervals_within(run_spreads([run.load_summary for run in measured[0]]), until):
            break
    if len(servers) > 1 or most > 1:
        (_print_repeats_json if as_json else _print_repeats)(measured, groups, until)
    return 0


async def _run(
    plan: LoadPlan,
    server: "ServerChoice",
    group: str,
    *,
    runs: list[Path],
    results: Path | None,
    slo: "Slo | None",
    fleet: "Fleet | None",
    as_json: bool,
) -> "Run":
    """Measure one run, print it, and return it; its folder is put into `runs` when it has begun."""
    from gptoss_bench.session import LoadProgress, RunProgress, load_fleet, serving, showing_progress

    show = _print_json if as_json else _print_result
    results_dir, command = str(results or ""), "python -m gptoss_bench load"
    opened = serving("load", server, plan=plan, results_dir=results_dir, repeat_group=group, command=command, slo=slo)
    async with opened as session:
        runs.append(session.folder.path)
        try:
            if fleet is None:
                load = LoadProgress(plan)
                with showing_progress(RunProgress(session.folder.path, plan, load=load).text):
                    await session.load(plan, load.add_trace)
            else:
                with _worker_rows() as show_workers:
                    await load_fleet(session, plan, fleet, show_workers)
        except RunFailed:
            show(session)
            raise
        run = session.finish()
    show(session)
    return run


@contextlib.contextmanager
def _worker_rows() -> "Iterator[Callable[[Sequence[WorkerProgress]], None]]":
    """Show on stderr what each worker does: a row each on a terminal, else a line from time to time."""
    from gptoss_bench.session import ProgressDisplay, workers_text

    display = ProgressDisplay()
    try:
        yield lambda workers: display.update(workers_text(workers), workers)
    finally:
        display.close()


def _print_result(session: "Session") -> None:
    from gptoss_bench.stats import result_block

    print(result_block(session.summary, title_line=session.title))
    print_findings(session.findings)
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


def _print_repeats(measured: "Sequence[Sequence[Run]]", groups: Sequence[str], until: float | None) -> None:
    """Print the figures over the runs of each server, and how the servers differ from the first one."""
    from gptoss_bench.stats import run_spreads, spreads_text

    for runs, group in zip(measured, groups, strict=True):
        if len(runs) > 1:
            title = f"{len(runs)} runs of {runs[0].manifest.server.url}, repeat group {group}"
            print(f"\n{title}\n{'=' * len(title)}")
            print("\n".join(spreads_text(run_spreads([run.load_summary for run in runs]), until)))
    for runs, differences in zip(measured[1:], _differences(measured), strict=True):
        urls = [side[0].manifest.server.url for side in (measured[0], runs)]
        print(f"\nfirst:  {urls[0]}\nsecond: {urls[1]}\n")
        print("\n".join(difference_lines(differences)))


def _print_repeats_json(measured: "Sequence[Sequence[Run]]", groups: Sequence[str], _until: float | None) -> None:
    """Print one more line: the figures over the runs of each server, and the differences from the first one."""
    from gptoss_bench.stats import run_spreads

    repeats = [
        {
            "url": runs[0].manifest.server.url,
            "repeat_group": group or None,
            "runs": [run.run_id for run in runs],
            "figures": {path: one.document() for path, one in run_spreads([run.load_summary for run in runs]).items()},
        }
        for runs, group in zip(measured, groups, strict=True)
    ]
    differences = [[asdict(one) for one in found] for found in _differences(measured)]
    print(json.dumps({"repeats": repeats, "differences": differences}))


def _differences(measured: "Sequence[Sequence[Run]]") -> "list[list[Difference]]":
    """Return how each later server differs from the first."""
    from gptoss_bench.stats import ComparedResult, compare_results

    first, *others = [[ComparedResult(run.load_summary, run.manifest.start_utc) for run in runs] for runs in measured]
    return [compare_results(first, other) for other in others]
