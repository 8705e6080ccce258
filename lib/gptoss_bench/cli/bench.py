"""`python -m gptoss_bench bench`: run this client and others under the same loads and print the comparison."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

EXAMPLE = """example:
  make setup-peers
  python -m gptoss_bench bench

Clients that are not installed are reported and left out. Run it on an idle machine."""


def add_parser(commands: Any) -> None:
    """Add `bench` to the commands."""
    parser = commands.add_parser(
        "bench",
        help="compare this client with others against the reference server",
        description="Run each client under each load and compare its report with the reference server's send log.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("clients", nargs="*", metavar="CLIENT", help="clients to run, by name (default: all that are installed)")
    add("--rounds", type=int, default=3, help="rounds over all loads and clients (default: %(default)s)")
    add("--loads", default="", metavar="N,N", help="loads to run, numbered from 1 (default: all)")
    add("--peers", type=Path, metavar="DIR", help="folder of the peers' venvs (default: build/peers)")
    add("--results", type=Path, metavar="DIR", help="folder that gets bench/<run> (default: results)")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Compare the clients, print the tables, write the bench folder, and return the exit code."""
    from gptoss_bench import paths
    from gptoss_bench.calibration import (
        PEER_LOADS,
        PEERS_DIR,
        choose_peers,
        compare_clients,
        create_peer_bench,
        write_peer_bench,
    )
    from gptoss_client import UsageError

    clients = choose_peers(args.clients)
    if args.rounds < 1:
        raise UsageError(f"--rounds must be 1 or more, not {args.rounds}")
    numbers = [part.strip() for part in args.loads.split(",") if part.strip()]
    load_of = {str(number): load for number, load in enumerate(PEER_LOADS, 1)}
    if unknown := [number for number in numbers if number not in load_of]:
        raise UsageError(f"--loads {unknown[0]}: there are loads 1 to {len(load_of)}")
    loads = [load_of[number] for number in numbers] or list(PEER_LOADS)
    folder = create_peer_bench(args.results or paths.RESULTS)
    try:
        rows, absent = await compare_clients(
            clients,
            loads,
            rounds=args.rounds,
            folder=args.peers or PEERS_DIR,
            report_progress=partial(print, flush=True),
        )
    except BaseException:
        folder.rmdir()  # still empty
        raise
    facts = {"rounds": args.rounds, "absent": absent}
    found = write_peer_bench(folder, rows, loads, facts)
    print(f"\n{found.markdown()}\n\nbench folder: {found.path}")
    return 0
