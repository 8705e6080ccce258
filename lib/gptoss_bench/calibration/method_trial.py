"""Run the published method against reference servers whose first token comes at a known time.

The method does not stream, so it cannot see a first token: it computes a TTFT from the latency. Beside it, on the same
server, the kit's client streams a few replies, and the server's log has the true times of their first tokens.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import pandas as pd

from gptoss_bench import paths
from gptoss_bench.calibration.accuracy import stream_numbers, true_ttft_s
from gptoss_bench.calibration.process_cost import Cost, run_tree
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.importers import parse_results
from gptoss_bench.runs import MethodTrialRow, Percentiles, derive_tables
from gptoss_client import Endpoint, LoadPlan, RunFailed, Trace, UsageError, run_load

STREAMED = 16  # replies of each case that the kit's client streams
LIMIT_S = 120.0  # of the method's client in one case
_CLIENT = "gptoss_bench.calibration.peers.clients.published_method"


@dataclass(frozen=True, slots=True)
class TrialCase:
    """One server and one load: `requests` at once, each of `tokens` tokens, one every `itl_s` after the first one."""

    name: str
    ttft_s: float = 0.2
    itl_s: float = 0.0328  # with 256 tokens and a TTFT of 0.2 s a latency of 8.56 s, the published mean
    prompt_tokens: int = 88  # those of the published prompt in vLLM 0.10.1
    tokens: int = 256
    requests: int = 64


def trial_cases(requests: int = 256, tokens: int = 256) -> list[TrialCase]:
    """Return the cases: one with `requests` and `tokens` as published, then variations with a quarter of `requests`.

    Raises UsageError if a number is too small.
    """
    if requests < 8 or tokens < 4:
        raise UsageError(f"the trial needs at least 8 requests of 4 tokens, not {requests} of {tokens}")
    few = requests // 4
    return [
        TrialCase("as published", tokens=tokens, requests=requests),
        TrialCase("first token after 0.05 s", ttft_s=0.05, tokens=tokens, requests=few),
        TrialCase("first token after 1 s", ttft_s=1.0, tokens=tokens, requests=few),
        TrialCase("a quarter of the tokens", tokens=tokens // 4, requests=few),
        TrialCase("a prompt of 8 tokens", prompt_tokens=8, tokens=tokens, requests=few),
        TrialCase("a prompt of 1,024 tokens", prompt_tokens=1024, tokens=tokens, requests=few),
    ]


async def try_published_method(cases: Sequence[TrialCase]) -> tuple[list[MethodTrialRow], Endpoint]:
    """Run all cases at once, each against a server of its own; return a row per case and the first server.

    The endpoint has no label and no facts: the subject of the measurement is the method, which is real. Raises
    RunFailed if a request failed.
    """
    async with asyncio.TaskGroup() as group:
        tasks = [group.create_task(_try(case)) for case in cases]
    done = [task.result() for task in tasks]
    return [row for row, _ in done], replace(done[0][1], label=None, facts={})


async def _try(case: TrialCase) -> tuple[MethodTrialRow, Endpoint]:
    plan = ReferencePlan(
        ttft_s=case.ttft_s, itl_s=case.itl_s, tokens=case.tokens, prompt_tokens=case.prompt_tokens, role="first"
    )
    load = LoadPlan(concurrency=STREAMED, requests=STREAMED, max_tokens=case.tokens, timeout_s=LIMIT_S)
    traces: list[Trace] = []
    with tempfile.TemporaryDirectory() as scratch:
        where = Path(scratch)
        async with serve_reference(plan, where) as endpoint:
            cost, reason = await asyncio.gather(
                _run_method(case, endpoint.url, where / "printed.txt"), run_load(load, endpoint, traces.append)
            )
        text = (where / "printed.txt").read_text(errors="replace")
        log = read_send_log(where / "send_log.parquet").events
    if cost.code != 0:
        raise RunFailed(f"the published method, {case.name}: it failed: {' '.join(text.split())[-200:]}")
    if reason is not None:
        raise RunFailed(reason)
    requests, _ = derive_tables(traces)
    first_token_s = float(true_ttft_s(log, stream_numbers(traces)).median())
    return _row(case, text, first_token_s, float(requests["ttft_s"].median())), endpoint


async def _run_method(case: TrialCase, url: str, output: Path) -> Cost:
    """Run the method's client, which prints to the file `output`."""
    counts = map(str, (case.requests, case.requests, case.tokens))
    environment = {**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent)}
    return await run_tree([sys.executable, "-m", _CLIENT, url, *counts], environment, output, limit_s=LIMIT_S)


def _row(case: TrialCase, text: str, first_token_s: float, kit_ttft_s: float) -> MethodTrialRow:
    http, _, block = text.partition("\n")
    [printed] = parse_results(block, "what the method printed")
    summary = printed.summary
    ttft_s, latency_s = (Percentiles(p50=one.p50, p90=one.p90, p99=one.p99) for one in (summary.ttft_s, summary.done_s))
    return MethodTrialRow(
        case=case.name,
        requests=case.requests,
        prompt_tokens=case.prompt_tokens,
        tokens=case.tokens,
        itl_s=case.itl_s,
        first_token_s=first_token_s,
        kit_ttft_s=kit_ttft_s,
        printed_ttft_s=ttft_s,
        printed_latency_s=latency_s,
        printed_output_tok_s=summary.output_tok_s_total,
        http=http,
        printed=block,
    )


def trial_table(rows: Sequence[MethodTrialRow]) -> pd.DataFrame:
    """Return one row per case with the true, the measured and the printed times in seconds."""
    return pd.DataFrame(
        {
            "case": row.case,
            "requests": row.requests,
            "prompt_tokens": row.prompt_tokens,
            "tokens": row.tokens,
            "first_token_s": row.first_token_s,
            "this_kit_s": row.kit_ttft_s,
            "printed_ttft_p50_s": row.printed_ttft_s.p50,
            "printed_ttft_p90_s": row.printed_ttft_s.p90,
            "printed_ttft_p99_s": row.printed_ttft_s.p99,
            "printed_latency_p50_s": row.printed_latency_s.p50,
        }
        for row in rows
    )


def trial_text(row: MethodTrialRow) -> str:
    """Return what the method printed beside the truth, as one sentence."""
    return (
        f"The method prints a TTFT of {row.printed_ttft_s.p50:.3f} s where the first token came after "
        f"{row.first_token_s:.3f} s; this kit's client, which streams, measures {row.kit_ttft_s:.3f} s."
    )
