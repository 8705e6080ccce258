"""`python -m gptoss_bench bench`: this client beside others under the same loads, as a table and a folder."""

import argparse
from functools import partial
from pathlib import Path
from typing import Any

EXAMPLE = """example, and then the README's section from what it left:
  make setup-peers
  python -m gptoss_bench bench
  python -m gptoss_bench readme results/bench/20261124T090000Z-bench-0a1b2c

Peers that are not installed are named and left out. Run it on a machine that does nothing else."""


def add_parser(commands: Any) -> None:
    """Add `bench` and its options to the subcommands."""
    parser = commands.add_parser(
        "bench",
        help="this client beside others, against a server that knows the truth",
        description="Run each client under each load, compare its numbers with the truth, and print the ratios.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    add = parser.add_argument
    add("clients", nargs="*", metavar="CLIENT", help="which, by name (default: all that are installed)")
    add("--rounds", type=int, default=3, help="of all loads and clients (default: %(default)s)")
    add("--loads", default="", metavar="N,N", help="which of the loads, by their number from 1 (default: all)")
    add("--peers", type=Path, metavar="DIR", help="where the peers' venvs are (default: build/peers)")
    add("--results", type=Path, metavar="DIR", help="folder that gets bench/<run> (default: results)")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Compare, print, keep. Raises UsageError in words."""
    from gptoss_bench import paths
    from gptoss_bench.calibration import (
        PEER_LOADS,
        PEERS,
        choose_peers,
        compare_clients,
        create_bench,
        measure_decoding_speed,
        write_bench,
    )
    from gptoss_client import UsageError

    clients = choose_peers(args.clients)
    if args.rounds < 1:
        raise UsageError(f"rounds must be 1 or more, not {args.rounds}")
    numbers = [part.strip() for part in args.loads.split(",") if part.strip()]
    known = {str(at): load for at, load in enumerate(PEER_LOADS, 1)}
    if unknown := [number for number in numbers if number not in known]:
        raise UsageError(f"no load {unknown[0]}: there are 1 to {len(known)}")
    loads = [known[number] for number in numbers] or list(PEER_LOADS)
    folder = create_bench(args.results or paths.RESULTS)
    try:
        rows, absent = await compare_clients(
            clients, loads, rounds=args.rounds, folder=args.peers or PEERS, say=partial(print, flush=True)
        )
    except BaseException:
        folder.rmdir()  # nothing is in it yet
        raise
    facts = {"rounds": args.rounds, "absent": absent, "decoding": measure_decoding_speed()}
    found = write_bench(folder, rows, loads, facts)
    print(f"\n{found.markdown()}\n\nbench folder: {found.path}")
    return 0
