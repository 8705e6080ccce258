"""`gptoss-bench bench`: run this client and others under the same loads and print the comparison."""

import json
import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json

EXAMPLE = """example:
  make setup-peers
  gptoss-bench bench

Clients that are not installed are reported and left out. Run it on an idle machine; with
--contended it also measures a machine whose cores are busy, as those beside an engine are."""


def bench(
    clients: Annotated[
        list[str] | None, typer.Argument(metavar="CLIENT", help="clients to run, by name (default: all installed ones)")
    ] = None,
    *,
    rounds: Annotated[int, typer.Option(help="rounds over all loads and clients")] = 3,
    loads: Annotated[str, typer.Option(metavar="N,N", help="loads to run, numbered from 1 (default: all)")] = "",
    contended: Annotated[
        bool, typer.Option("--contended", help="run one busy process per core beside each client")
    ] = False,
    peers: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder of the peers' venvs (default: build/peers)")
    ] = None,
    results: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder that gets bench/<run> (default: results)")
    ] = None,
    as_json: Json = False,
) -> int:
    """Run each client under each load and compare its report with the reference server's send log."""
    import asyncio

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

    chosen = choose_peers(clients or [])
    if rounds < 1:
        raise UsageError(f"--rounds must be 1 or more, not {rounds}")
    numbers = [part.strip() for part in loads.split(",") if part.strip()]
    load_of = {str(number): load for number, load in enumerate(PEER_LOADS, 1)}
    if unknown := [number for number in numbers if number not in load_of]:
        raise UsageError(f"--loads {unknown[0]}: there are loads 1 to {len(load_of)}")
    planned = [load_of[number] for number in numbers] or list(PEER_LOADS)
    folder = create_peer_bench(results or paths.RESULTS)
    try:
        progress = partial(print, flush=True, file=sys.stderr if as_json else sys.stdout)
        rows, absent = asyncio.run(
            compare_clients(
                chosen, planned, rounds=rounds, folder=peers or PEERS_DIR, contended=contended, report_progress=progress
            )
        )
    except BaseException:
        folder.rmdir()  # still empty
        raise
    found = write_peer_bench(folder, rows, planned, rounds=rounds, absent=absent, contended=contended)
    if as_json:
        print_json(
            {"bench_folder": found.path, "absent": absent, "rows": json.loads(found.rows.to_json(orient="records"))}
        )
        return 0
    print(f"\n{found.markdown()}\n\nbench folder: {found.path}")
    return 0
