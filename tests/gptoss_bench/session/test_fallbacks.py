"""A whole load in its own process, on a system with less: no epoll, no kernel timestamps, neither of them."""

import os
import subprocess
import sys

import pytest

from gptoss_bench import paths
from gptoss_bench.calibration.accuracy import match_events, stream_numbers
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log
from gptoss_bench.cli.main import main
from gptoss_bench.runs.folder import Run
from gptoss_client.event_loop import NO_EPOLL_VARIABLE, SocketPoller
from gptoss_client.timestamps import NO_KERNEL_TIMESTAMPS_VARIABLE
from serving import PATIENCE_S, held

NEITHER = (NO_EPOLL_VARIABLE, NO_KERNEL_TIMESTAMPS_VARIABLE)


@pytest.mark.parametrize("missing", [NEITHER[:1], NEITHER[1:], NEITHER], ids=["no epoll", "no timestamps", "neither"])
def test_a_load_without_a_facility_of_linux_is_whole_and_bounded_and_says_so(tmp_path, missing):
    with held(serve_reference(ReferencePlan(ttft_s=0.05, itl_s=0.01, tokens=8), tmp_path)) as server:
        load = ["load", "--url", server.url, "--model", server.model, "-c", "4", "-n", "16", "--warmup", "4"]
        subprocess.run(
            [sys.executable, "-m", "gptoss_bench", *load, "--sweep", "1,2", "--results", str(tmp_path)],
            env={**os.environ, "PYTHONPATH": str(paths.PACKAGE.parent), **dict.fromkeys(missing, "1")},
            check=True,
            capture_output=True,
            timeout=PATIENCE_S,
        )
    [path] = (tmp_path / "runs").iterdir()
    run = Run.load(path)
    polled = NO_EPOLL_VARIABLE not in missing and SocketPoller.is_available()
    assert run.summary.client.timestamp_source == ("read" if polled else "data_received")
    assert run.requests.outcome.eq("completed").all() and len(run.summary.sweep) == 2
    log = read_send_log(tmp_path / "send_log.parquet").events
    found = match_events(run.events, stream_numbers(run.traces()), log)
    assert found["_merge"].eq("both").all()
    assert found.lag_ns.isna().all()
    assert found.arrival_ns.ge(found.sent_ns).all()
    assert found.not_before_ns.lt(found.arrival_ns).all()  # never exact
    assert found.not_before_ns.le(found.sent_after_ns + 200_000).mean() >= 0.99  # it bounds the true arrival
    assert (run.summary.client.heartbeat_late_s is not None) is polled
    assert (run.summary.client.bound_unknown is None) is polled
    assert main(["rebuild", "--check", str(path)]) == 0
