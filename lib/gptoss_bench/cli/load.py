"""`python -m gptoss_bench load`: run one closed-loop load against one server."""

import argparse
import contextlib
from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from tqdm import tqdm

from gptoss_bench.cli.arguments import parse_share
from gptoss_bench.engines import ServerChoice
from gptoss_bench.session import Session, serving
from gptoss_bench.stats import (
    MIN_TRIALS,
    intervals_within,
    parse_sweep_levels,
    result_block,
    sweep_plans,
    trial_spreads,
    trials_text,
)
from gptoss_client import (
    PUBLISHED_PROMPT,
    PUBLISHED_SYSTEM,
    LoadPlan,
    RunFailed,
    Trace,
    TraceCallback,
    UsageError,
    new_event_loop,
)

EXAMPLE = """example, the write-up's own load:
  python -m gptoss_bench load --url http://127.0.0.1:8000 --model openai/gpt-oss-20b \\
      --concurrency 256 --requests 2000 --max-tokens 256 --prompt "Explain quantum mechanics in one paragraph."

The API key, if the server needs one, is read from the environment variable GPTOSS_API_KEY and never stored."""


def add_parser(commands: Any) -> None:
    """Add `load` to the commands."""
    parser = commands.add_parser(
        "load",
        help="measure a server and write a run folder",
        description="Send streaming requests in a closed loop, print the result block, and write a run folder.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("--url", default="http://127.0.0.1:8000", help="root URL of the server (default: %(default)s)")
    add("--model", required=True, help="name of the model on the server")
    add("--dialect", choices=("auto", "openai", "ollama"), default="auto", help="default: ask the server")
    add("--concurrency", "-c", type=int, default=64, help="slots of the closed loop (default: %(default)s)")
    add("--requests", "-n", type=int, help="requests to send (default: 1024, unless --duration is given)")
    add("--duration", type=float, metavar="S", help="send for this many seconds instead of a number of requests")
    add(
        "--warmup", type=int, default=0, help="requests before the measured ones, recorded apart (default: %(default)s)"
    )
    add("--prompt", default=PUBLISHED_PROMPT, help="the user's message (default: %(default)r)")
    add("--system", default=PUBLISHED_SYSTEM, help="the system message, '' for none (default: %(default)r)")
    add(
        "--prompts",
        choices=("fixed", "distinct"),
        default="fixed",
        help="one prompt for all requests, or a new one per request, which no cache has seen",
    )
    add("--max-tokens", type=int, default=128, help="output token limit per request (default: %(default)s)")
    add(
        "--num-ctx", type=int, help="context of Ollama in tokens (default: Ollama's, which depends on the GPU's memory)"
    )
    add("--temperature", type=float, default=0.0, help="default: %(default)s")
    add("--ignore-eos", action="store_true", help="generate up to --max-tokens, if the engine supports it")
    add("--min-tokens", type=int, help="output token minimum per request, if the engine supports it")
    add("--token-counts", action="store_true", help="ask for a running token count in every event")
    add(
        "--timeout",
        type=float,
        default=LoadPlan().timeout_s,
        metavar="S",
        help="timeout of a whole request (default: %(default)s)",
    )
    add("--first-timeout", type=float, metavar="S", help="timeout of the first event (default: none)")
    add("--idle-timeout", type=float, metavar="S", help="timeout between events (default: none)")
    add("--results", default="", metavar="DIR", help="folder that gets runs/<run> (default: results)")
    add("--sweep", default="", metavar="LIST", help="afterwards, load again at these concurrencies, such as 1,4,16")
    add("--sweep-waves", type=int, default=4, help="requests per slot at each of them (default: %(default)s)")
    add(
        "--until",
        type=parse_share,
        metavar="SHARE",
        help="repeat the load until the intervals of rate, TTFT and TPOT are within this share, such as 3%%",
    )
    add("--max-trials", type=int, default=9, help="maximum number of loads with --until (default: %(default)s)")
    parser.set_defaults(run=run, loop_factory=new_event_loop)


async def run(args: argparse.Namespace) -> int:
    """Measure the server, print the result, and return the exit code; with --until each trial is a run of its own."""
    if args.until is not None and args.max_trials < MIN_TRIALS:
        raise UsageError(f"--max-trials {args.max_trials} is too few for an interval: give {MIN_TRIALS} or more")
    requests = args.requests if args.requests is not None or args.duration is not None else 1024
    plan = LoadPlan(
        concurrency=args.concurrency,
        requests=requests,
        duration_s=args.duration,
        warmup=args.warmup,
        prompt=args.prompt,
        system=args.system or None,
        prompts=args.prompts,
        max_tokens=args.max_tokens,
        temperature=args.temperature,
        options={} if args.num_ctx is None else {"num_ctx": args.num_ctx},
        ignore_eos=args.ignore_eos,
        min_tokens=args.min_tokens,
        token_counts=args.token_counts,
        timeout_s=args.timeout,
        first_timeout_s=args.first_timeout,
        idle_timeout_s=args.idle_timeout,
        sweep=parse_sweep_levels(args.sweep),
        sweep_waves=args.sweep_waves,
    )
    done = [await _trial(args, plan)]
    while args.until is not None and len(done) < args.max_trials:
        if intervals_within(trial_spreads(done), args.until):
            break
        print()
        # The salt makes the prompts new to every cache, as those of the first trial were.
        done.append(await _trial(args, replace(plan, salt=plan.salt + len(done))))
    if args.until is not None:
        print("\n" + "\n".join(trials_text(trial_spreads(done), args.until)))
    return 0


async def _trial(args: argparse.Namespace, plan: LoadPlan) -> Mapping[str, Any]:
    """Measure one run and return its summary."""
    server = ServerChoice(url=args.url, model=args.model, dialect="" if args.dialect == "auto" else args.dialect)
    command = "python -m gptoss_bench load"
    async with serving("load", server, plan=plan, results_dir=args.results, command=command) as session:
        try:
            with _progress_bar(plan) as progress:
                await session.load(plan, progress)
        except RunFailed:
            _print_result(session)
            raise
        session.finish()
    _print_result(session)
    return session.summary


@contextlib.contextmanager
def _progress_bar(plan: LoadPlan) -> Iterator[TraceCallback]:
    """Show a progress bar on stderr, if that is a terminal."""
    levels = [level.requests or 0 for level in sweep_plans(plan)]
    total = None if plan.requests is None else plan.warmup + plan.requests + sum(levels)
    with tqdm(total=total, unit="req", disable=None, mininterval=0.5) as bar:

        def step(trace: Trace) -> None:
            bar.update()

        yield step


def _print_result(session: Session) -> None:
    print(result_block(session.summary, title_line=session.title))
    for finding in session.findings:
        print(f"{finding.severity}: {finding.evidence} [{finding.rule}]")
    print(f"run folder: {session.folder.path}")
