"""The client's arrivals against the send log of the reference server, event by event, also while the client stands."""

import asyncio
import signal
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest

from gptoss_bench.calibration.accuracy import match_events, stream_numbers
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.engines.doctor.facts import kernel_timestamps
from gptoss_bench.runs import Run
from gptoss_client.event_loop import SocketPoller

pytestmark = pytest.mark.skipif(
    not (SocketPoller.is_available() and kernel_timestamps()), reason="no epoll or no kernel timestamps"
)
STREAMS, WAVES, TOKENS, FROZEN_S = 32, 3, 40, 0.5
CLIENT = f"""
import asyncio, sys
from pathlib import Path
from gptoss_bench.runs import RunFolder
from gptoss_client import Endpoint, LoadPlan, new_event_loop, run_load

folder = RunFolder.create(Path(sys.argv[1]), "load", parameters={{}}, run_id="load")
plan = LoadPlan(concurrency={STREAMS}, requests={STREAMS * WAVES}, max_tokens={TOKENS}, timeout_s=120)
endpoint = Endpoint(sys.argv[2], "reference", sys.argv[3], "reference-server")
with asyncio.Runner(loop_factory=new_event_loop) as runner:
    runner.run(run_load(plan, endpoint, folder.add))
folder.finish()
"""


async def loaded(scratch: Path, plan: ReferencePlan, dialect: str, freezes: int) -> tuple[Run, pd.DataFrame]:
    """Return the run of a client of its own process, stopped so often, and the server's log."""
    async with serve_reference(plan, scratch, dialect=dialect) as endpoint:
        command = [sys.executable, "-c", CLIENT, str(scratch), endpoint.url, dialect]
        client = await asyncio.to_thread(subprocess.Popen, command)
        spool = scratch / "runs" / "load" / "traces.jsonl"
        for _ in range(freezes):
            size = spool.stat().st_size if spool.exists() else 0
            while client.poll() is None and (spool.stat().st_size if spool.exists() else 0) <= size:
                await asyncio.sleep(0.01)  # the first wave is over: the next one is under way
            await asyncio.sleep(0.5)
            client.send_signal(signal.SIGSTOP)
            await asyncio.sleep(FROZEN_S)
            client.send_signal(signal.SIGCONT)
        assert await asyncio.to_thread(client.wait) == 0
    return Run.load(scratch / "runs" / "load"), read_send_log(scratch / "send_log.parquet").events


@pytest.mark.parametrize("freezes", [0, 1])
@pytest.mark.parametrize(
    ("plan", "dialect"),
    [
        (ReferencePlan(itl_s=0.02, tokens=TOKENS), "openai"),
        (ReferencePlan(itl_s=0.02, tokens=TOKENS, lockstep=True), "openai"),
        (ReferencePlan(itl_s=0.02, tokens=TOKENS, role="first", tokens_per_event=2, usage="continuous"), "openai"),
        (ReferencePlan(itl_s=0.02, tokens=TOKENS), "ollama"),
    ],
    ids=["paced", "lockstep", "packed", "ollama"],
)
def test_the_true_send_of_each_event_lies_within_its_interval(tmp_path, plan, dialect, freezes):
    run, log = asyncio.run(loaded(tmp_path, plan, dialect, freezes))
    assert run.requests["outcome"].eq("completed").all()
    matched = match_events(run.events, stream_numbers(run.traces()), log)
    both = matched[matched["_merge"] == "both"]
    assert len(both) == len(run.events)
    inside = both["sent_after_ns"].ge(both["not_before_ns"] - 100_000) & both["sent_ns"].le(
        both["arrival_ns"] + 200_000
    )
    assert inside.mean() >= 0.999
    assert (both["not_before_ns"] == both["arrival_ns"]).any()
    if freezes:  # without the intervals the arrivals would be wrong by this much
        assert (both["arrival_ns"] - both["sent_ns"]).max() >= 0.1e9
        assert max(late_ns for trace in run.traces() for _, late_ns in trace.beats or ()) >= 0.9 * FROZEN_S * 1e9
