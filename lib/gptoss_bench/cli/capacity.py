"""`gptoss-bench capacity`: search for the highest load that a server carries within an SLO."""

import json
import sys
from dataclasses import asdict
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from gptoss_bench.cli.load import PLAN_OPTIONS as LOAD_OPTIONS
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
from gptoss_bench.cli.output import coloured, print_table
from gptoss_client import LoadPlan, UsageError

if TYPE_CHECKING:
    from gptoss_bench.engines import ServerChoice
    from gptoss_bench.runs import CapacityGoal, CapacityLevel, Slo
    from gptoss_bench.session import Session
    from gptoss_bench.stats import CapacitySearch, PlannedLevel

EXAMPLE = """example:
  gptoss-bench capacity --slo ttft=0.5s,tpot=30ms --url http://127.0.0.1:8000 --model openai/gpt-oss-20b \\
      --usd-per-hour 3.5

Without --url the embedded engine is measured, to try the command. The API key, if the server needs one, is read from
the environment variable GPTOSS_API_KEY and never stored."""

_OF_LEVELS = {
    *(
        "concurrency",
        "rate",
        "replay",
        "replay_speed",
        "requests",
        "duration_s",
        "sweep",
        "sweep_waves",
        "sweep_prompts",
        "turns",
        "think_time",
    ),
}
PLAN_OPTIONS = {name: option for name, option in LOAD_OPTIONS.items() if name not in _OF_LEVELS} | {
    "max_in_flight": FieldOption("of a rate: a request that is due above this limit is not sent, and fails"),
    "prompts": FieldOption(
        f"{LOAD_OPTIONS['prompts'].help} (distinct: a warm prefix cache makes later levels faster)",
        type=LOAD_OPTIONS["prompts"].type,
        default="distinct",
    ),
}


@field_options(LoadPlan, PLAN_OPTIONS, "Load")
def capacity(
    *,
    slo: Annotated[
        str,
        typer.Option(metavar="LIMITS", help="limits that a good request meets, such as ttft=0.5s,tpot=30ms,e2e=10s"),
    ],
    share: Annotated[float, share_option("share of the requests that must be good")] = 0.95,
    concurrency: Annotated[
        bool, typer.Option("--concurrency", help="raise the number of requests in flight instead of the rate")
    ] = False,
    url: Annotated[
        str, typer.Option(help="root URL of the server (default: start the embedded engine)", show_default=False)
    ] = "",
    model: Annotated[
        str, typer.Option(help="name of the model on the server (default: its only one)", show_default=False)
    ] = "",
    dialect: Annotated[
        Literal["auto", "openai", "ollama"], typer.Option(help="API of the server; auto: ask the server")
    ] = "auto",
    label: Annotated[
        str, typer.Option(help="label of a server that does not report it, such as 'RANDOM WEIGHTS'")
    ] = "",
    start: Annotated[float, typer.Option(help="first level, in requests/s or in requests in flight")] = 1.0,
    level_seconds: Annotated[
        float, typer.Option(help="duration of a level near the capacity; those before it last half as long")
    ] = 30.0,
    repeats: Annotated[int, typer.Option(min=4, help="levels near the capacity, at most")] = 12,
    within: Annotated[
        float, share_option("end earlier if the interval is within this share of the capacity, such as 2%")
    ] = 0.02,
    max_minutes: Annotated[float, typer.Option(help="longest duration of the search")] = 20.0,
    usd_per_hour: Annotated[
        float | None, typer.Option(metavar="USD", help="price of the machine per hour, for the price of tokens")
    ] = None,
    cacert: CaFile = None,
    results: ResultsFolder = None,
    as_json: Json = False,
    **plan_values: Any,
) -> int:
    """Raise the load until too few requests are within the SLO, close in, and print what the server carries."""
    import asyncio

    from gptoss_bench.engines import ServerChoice, clean_url
    from gptoss_bench.runs import CapacityGoal
    from gptoss_bench.stats import parse_slo
    from gptoss_client import new_event_loop

    if url:
        clean_url(url)
    limits = parse_slo(slo)
    for flag, value in (
        ("--start", start),
        ("--level-seconds", level_seconds),
        ("--max-minutes", max_minutes),
        ("--usd-per-hour", usd_per_hour),
    ):
        if value is not None and not 0 < value < float("inf"):
            raise UsageError(f"{flag} must be above 0, not {value:g}")
    use_ca_file(cacert)
    plan_values["system"] = plan_values["system"] or None
    plan = build_record(LoadPlan, PLAN_OPTIONS, plan_values)

    # What can be wrong was checked before pandas is imported, but for the highest level.
    from gptoss_bench.session import telling_what_is_kept
    from gptoss_bench.stats import CAPACITY_MOST, CapacitySearch

    if start > CAPACITY_MOST or (concurrency and start != int(start)) or start < 0.001:
        kind = "a whole number of requests in flight" if concurrency else "requests/s from 0.001"
        raise UsageError(f"--start must be {kind} up to {CAPACITY_MOST:.0f}, not {start:g}")
    server = ServerChoice(
        url=url, model=model, dialect="" if dialect == "auto" else dialect, label=label, embedded=not url
    )
    goal = CapacityGoal(share=share, by="concurrency" if concurrency else "rate")
    search = CapacitySearch(goal, start=start, repeats=repeats, within=within, level_s=level_seconds)
    with telling_what_is_kept() as runs, asyncio.Runner(loop_factory=new_event_loop) as runner:
        session = runner.run(
            _search(
                plan, server, results, limits, search, runs=runs,
                max_s=60 * max_minutes, usd_per_hour=usd_per_hour, as_json=as_json,
            )
        )  # fmt: skip
    found = session.summary.capacity
    return 1 if found is None or found.word == "cannot tell" else 0


async def _search(
    plan: LoadPlan,
    server: "ServerChoice",
    results: Path | None,
    slo: "Slo",
    search: "CapacitySearch",
    *,
    runs: list[Path],
    max_s: float,
    usd_per_hour: float | None,
    as_json: bool,
) -> "Session":
    """Search, print what was found, and return the session; what a stopped search found is printed too.

    The run folder is put into `runs` when it has begun.
    """
    from gptoss_bench import paths
    from gptoss_bench.runs import new_run_id
    from gptoss_bench.session import RunProgress, serving, showing_progress

    run_id = new_run_id("capacity")
    progress = RunProgress((results or paths.RESULTS) / "runs" / run_id)
    opened = serving(
        "capacity",
        server,
        plan=plan,
        results_dir=str(results or ""),
        run_id=run_id,
        command="python -m gptoss_bench capacity",
        slo=slo,
        capacity=search.goal,
    )
    session = None
    try:
        with showing_progress(progress.text):
            async with opened as session:
                runs.append(session.folder.path)
                if slo.tpot_s is not None and not plan.token_counts:
                    plan = await session.with_token_counts(plan)
                show = partial(_print_level, search.goal)
                await session.find_capacity(plan, search, max_s=max_s, on_level=show)
                session.finish()
    finally:
        if session is not None and session.summary.capacity is not None:
            if as_json:
                _print_json(session, slo, usd_per_hour)
            else:
                _print_result(session, usd_per_hour)
    return session


def _print_level(goal: "CapacityGoal", planned: "PlannedLevel", level: "CapacityLevel | None") -> None:
    """Print one line on stderr for a level that has ended."""
    from gptoss_bench.stats import CAPACITY_UNITS, client_limits

    if level is None:
        return
    number, unit, reasons = level.phase.rpartition("-")[2], CAPACITY_UNITS[goal.by], client_limits(level, goal)
    says = "holds" if (level.share or 0.0) >= goal.share else "fails"
    says = f"no evidence, because {'; '.join(reasons)}" if reasons else says
    shown = "–" if level.share is None else f"{level.share:.1%}"
    line = f"level {number}: {level.level:g} {unit}: {shown} of {level.requests} requests within the SLO: {says}"
    print(line, file=sys.stderr, flush=True)


def _print_result(session: "Session", usd_per_hour: float | None) -> None:
    from gptoss_bench.readings import capacity_finding
    from gptoss_bench.stats import capacity_table, result_block

    found = session.summary.capacity
    assert found is not None
    table = capacity_table(found)
    columns = [str(name) for name in table]
    print_table(columns, table.to_numpy().tolist(), columns[:-1])
    print()
    print(result_block(session.summary, title_line=session.title))
    for finding in session.findings:
        print(f"{coloured(finding.severity)}: {finding.evidence} [{finding.rule}]")
    print(f"\n{capacity_finding(session.summary, session.manifest, usd_per_hour or 0.0)}")
    print(f"run folder: {session.folder.path}")


def _print_json(session: "Session", slo: "Slo", usd_per_hour: float | None) -> None:
    """Print one line with the run, the result in one sentence, the price, its summary and its findings."""
    from gptoss_bench.stats import capacity_text, usd_per_mtok_at

    summary = session.summary
    assert summary.capacity is not None
    price = None if usd_per_hour is None else usd_per_mtok_at(summary.capacity, usd_per_hour)
    found = {
        "run": session.folder.run_id,
        "run_folder": str(session.folder.path),
        "result": capacity_text(summary.capacity, slo),
        "usd_per_mtok": price,
        "findings": [asdict(finding) for finding in session.findings],
        "summary": summary.document(),
    }
    print(json.dumps(found))
