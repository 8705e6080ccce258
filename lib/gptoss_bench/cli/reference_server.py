"""`python -m gptoss_bench reference-server`: serve paced tokens and log when each was sent."""

import argparse
import sys
from dataclasses import fields
from pathlib import Path
from typing import Any

from gptoss_bench.calibration import REFERENCE_PLAN_CHOICES, ReferencePlan
from gptoss_client import UsageError

EXAMPLE = """example, 256 streams of 40 tokens/s measured by the kit's client, in two shells:
  python -m gptoss_bench reference-server --port 9000 --ttft-s 0.2 --itl-s 0.025 --log send_log.parquet
  python -m gptoss_bench load --url http://127.0.0.1:9000 --model reference -c 256 -n 512

It serves OpenAI's chat completions and Ollama's /api/chat until SIGINT or SIGTERM, then writes the log, one row per
event, and prints its own lateness. Each event's id contains `reference-<number>`, the `stream` of the log."""


def add_parser(commands: Any) -> None:
    """Add `reference-server` to the commands, with one option per field of ReferencePlan."""
    parser = commands.add_parser(
        "reference-server",
        help="serve paced tokens and log when each was sent",
        description="Send each token when it is due, on 127.0.0.1, and log when it was sent.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--port", type=int, default=0, help="port; 0 for any free one (default: %(default)s)")
    parser.add_argument("--log", type=Path, metavar="FILE", help="Parquet file for the log, written at the end")
    for option in fields(ReferencePlan):
        flag = f"--{option.name.replace('_', '-')}"
        text = f"{option.metadata['help'].replace('%', '%%')} (default: %(default)s)"
        if isinstance(option.default, bool):
            parser.add_argument(flag, action="store_true", help=text)
        else:
            parser.add_argument(
                flag,
                type=type(option.default),
                default=option.default,
                choices=REFERENCE_PLAN_CHOICES.get(option.name),
                help=text,
            )
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Serve until a signal, write the log, print the lateness, and return the exit code."""
    from gptoss_bench.calibration import ReferenceServer, send_log_table, server_lateness_ms, write_send_log

    plan = ReferencePlan(**{option.name: getattr(args, option.name) for option in fields(ReferencePlan)})
    try:
        server = ReferenceServer(plan, args.port)
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {args.port} on 127.0.0.1 is not free ({error}): choose another --port, or 0") from None
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve()
    events = send_log_table(server.streams)
    if args.log is not None:
        try:
            write_send_log(args.log, plan, events)
        except OSError as error:
            raise UsageError(
                f"cannot write --log {args.log}: {error.strerror or error}; choose another file"
            ) from error
    late = server_lateness_ms(events)
    reported = ", ".join(f"{name} {value:.3f} ms" for name, value in late.items() if value is not None)
    print(
        f"{len(events)} events of {len(server.streams)} streams; own lateness {reported or 'unknown'}", file=sys.stderr
    )
    return 0
