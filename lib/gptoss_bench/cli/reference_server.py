"""`gptoss-bench reference-server`: serve paced tokens and log when each was sent."""

import ssl
import sys
from dataclasses import fields
from pathlib import Path
from typing import Annotated, Any, Literal

import typer

from gptoss_bench.calibration import REFERENCE_PLAN_CHOICES, ReferencePlan
from gptoss_bench.cli.options import FieldOption, build_record, field_options
from gptoss_bench.files import writing
from gptoss_client import UsageError

EXAMPLE = """example, 256 streams of 40 tokens/s measured by the kit's client, in two shells:
  gptoss-bench reference-server --port 9000 --ttft-s 0.2 --itl-s 0.025 --log send_log.parquet
  gptoss-bench load --url http://127.0.0.1:9000 --model reference -c 256 -n 512

It serves OpenAI's chat completions and Ollama's /api/chat until SIGINT or SIGTERM, then writes the log, one row per
event, and prints its own lateness. Each event's id contains `reference-<number>`, the `stream` of the log."""


PLAN_OPTIONS = {
    field.name: FieldOption(
        field.metadata["help"],
        type=Literal[REFERENCE_PLAN_CHOICES[field.name]] if field.name in REFERENCE_PLAN_CHOICES else None,
    )
    for field in fields(ReferencePlan)
}


@field_options(ReferencePlan, PLAN_OPTIONS, "Replies")
def reference_server(
    *,
    port: Annotated[int, typer.Option(min=0, max=65535, help="port; 0 for any free one")] = 0,
    log: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Parquet file for the log, written at the end")
    ] = None,
    certificate: Annotated[
        Path | None, typer.Option(metavar="FILE", help="PEM file of a certificate and its key: serve https as well")
    ] = None,
    **plan_values: Any,
) -> int:
    """Send each token when it is due, on 127.0.0.1, and log when it was sent."""
    from gptoss_bench.calibration import ReferenceServer, send_log_table, server_lateness_ms, write_send_log

    plan = build_record(ReferencePlan, PLAN_OPTIONS, plan_values)
    if certificate is not None and not certificate.is_file():
        raise UsageError(f"--certificate {certificate} is not a file: give a PEM file of a certificate and its key")
    try:
        server = ReferenceServer(plan, port, certificate)
    except ssl.SSLError as error:
        raise UsageError(f"--certificate {certificate} holds no certificate with its key ({error.reason})") from None
    except (OSError, OverflowError) as error:
        raise UsageError(f"port {port} on 127.0.0.1 is not free ({error}): choose another --port, or 0") from None
    print(f"http://127.0.0.1:{server.port}", flush=True)
    server.serve()
    events = send_log_table(server.streams)
    if log is not None:
        with writing(f"--log {log}", "choose another file"):
            write_send_log(log, plan, events)
    late = server_lateness_ms(events)
    reported = ", ".join(f"{name} {value:.3f} ms" for name, value in late.items() if value is not None)
    print(
        f"{len(events)} events of {len(server.streams)} streams; own lateness {reported or 'unknown'}", file=sys.stderr
    )
    return 0
