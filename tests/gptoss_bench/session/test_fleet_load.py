"""A load of several workers: the same requests for any number of them, and sums that add up whatever happens."""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from fleets import fleet_run, slowly, worker_pid
from gptoss_bench.cli.main import main
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_bench.runs.folder import Run
from gptoss_bench.session.evaluate import finish_interrupted
from gptoss_bench.session.fleet_load import check_division
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from scripted import Scripted
from serving import below, command_of, wait_until

DURATIONS = ("connect_s", "client_queue_s", "ttft_s", "tpot_s", "e2e_s", "done_s", "ttft_low_s", "ttft_high_s")
CLOSED = LoadPlan(concurrency=5, requests=40, warmup=4, prompts="distinct", salt=3)
OPEN = LoadPlan(concurrency=4, rate="50", requests=40, warmup=3, prompts="distinct", salt=3, arrival_seed=5)


def whole_rows(run: Run) -> int:
    """Check that each planned request is one row with one ending; return how many were lost."""
    rows, summary = run.requests, run.summary
    assert rows.request_id.is_unique
    ended = (summary.completed, summary.failed, summary.cancelled, summary.lost)
    measured = rows[rows.phase == "measure"]
    assert sum(ended) == summary.requests == len(measured)
    counts = Counter(measured.outcome)
    assert ended == tuple(counts[name] for name in ("completed", "failed", "cancelled", "lost"))
    assert (rows.request_id % len(run.manifest.workers) == rows.shard).all()
    return summary.lost


@pytest.mark.parametrize("plan", [CLOSED, OPEN], ids=["closed", "open"])
def test_one_two_and_four_workers_send_the_same_requests(tmp_path, plan):
    kept = {}
    for count in (1, 2, 4):
        run, server = asyncio.run(fleet_run(tmp_path, plan, LocalFleet(count)))
        assert (run.manifest.status, run.manifest.reason) == ("complete", None)
        assert whole_rows(run) == 0 and set(run.requests.outcome) == {"completed"}, run.requests.error.dropna().tolist()
        rows = run.requests.sort_values("request_id")
        bodies = {body for _, body in server.requests}  # each prompt is another one; a busy machine may ask twice
        kept[count] = (list(rows.request_id), list(rows.prompt_id), list(rows.phase), bodies)
        if plan.is_open:
            measured = rows[rows.phase == "measure"]
            begin_ns = run.manifest.workers[0].begin_ns
            due = [begin_ns + int(offset * 1e9) for offset in plan.arrival_offsets()]
            bound_ns = max(worker.clock.bound_ns for worker in run.manifest.workers)
            assert (np.abs(measured.scheduled_ns.to_numpy() - due) <= bound_ns).all()
        assert [worker.slots for worker in run.manifest.workers] == [
            (plan.concurrency + count - 1 - k) // count for k in range(count)
        ]
        assert main(["rebuild", "--check", str(run.path)]) == 0
    assert kept[1] == kept[2] == kept[4]


def test_a_merge_shifts_instants_and_no_duration(tmp_path):
    run, _ = asyncio.run(fleet_run(tmp_path, CLOSED, LocalFleet(2)))
    for worker in run.manifest.workers:
        own = Run.load(run.path / "shards" / str(worker.index))
        merged = run.requests[run.requests["shard"] == worker.index].reset_index(drop=True)
        assert (own.manifest.shard.index, own.manifest.shard.count) == (worker.index, 2)
        for name in DURATIONS:
            assert np.array_equal(own.requests[name], merged[name], equal_nan=True)
        for name in ("scheduled_ns", "sent_ns", "done_ns"):
            assert (own.requests[name] - merged[name] == worker.clock.offset_ns).all()
        events = run.events[run.events.request_id.isin(merged.request_id)].reset_index(drop=True)
        assert (own.events.arrival_ns - events.arrival_ns == worker.clock.offset_ns).all()
        assert own.events.lag_ns.equals(events.lag_ns) and own.events.itl_s.equals(events.itl_s)
    assert sum(1 for _ in run.traces()) == len(run.requests)
    by_id = {trace.request_id: trace for trace in run.traces()}
    assert all(by_id[row.request_id].sent_ns == row.sent_ns for row in run.requests.itertuples())


def test_a_request_of_two_workers_is_refused(tmp_path, capsys):
    run, _ = asyncio.run(fleet_run(tmp_path, CLOSED, LocalFleet(2)))
    for name in ("raw.parquet", "requests.parquet", "events.parquet"):
        shutil.copy(run.path / "shards/0" / name, run.path / "shards/1" / name)
    assert main(["rebuild", "--check", str(run.path)]) == 2
    assert "request 0 has 2 rows, of workers 0, 1: a request is sent once" in capsys.readouterr().err


def test_a_killed_worker_is_not_run_again_and_nothing_is_counted_twice(tmp_path, capsys):
    plan = LoadPlan(concurrency=4, requests=80, warmup=2, prompts="distinct", salt=3)
    frozen = {}

    async def kill_at_half_time(server: Scripted, path: Path) -> None:
        while len(server.requests) < 40:
            await asyncio.sleep(0.01)
        os.kill(worker_pid(path, 1), signal.SIGKILL)

    run, server = asyncio.run(fleet_run(tmp_path, plan, LocalFleet(2), slowly, kill_at_half_time))
    assert run.manifest.status == "incomplete"
    assert run.manifest.reason == "worker 1 of 2 was lost: its process ended"
    lost = whole_rows(run)
    assert 0 < lost < 40
    rows = run.requests
    assert set(rows[rows.outcome == "lost"]["shard"]) == {1}
    assert set(rows[rows["shard"] == 0].outcome) == {"completed"}
    bodies = Counter(body for _, body in server.requests)
    assert max(bodies.values()) <= 2  # the check of the server and a request may have the same body
    sent = len(server.requests) - 1
    assert (rows.outcome != "lost").sum() <= sent <= (rows.outcome != "lost").sum() + 2  # those on their way
    assert {"worker-lost", "concurrency-not-delivered"} <= {finding.rule for finding in run.findings}
    for file in (run.path / "shards/0").iterdir():
        frozen[file.name] = file.read_bytes()
    assert main(["rebuild", "--check", str(run.path)]) == 0
    assert main(["rebuild", str(run.path)]) == 0
    assert {file.name: file.read_bytes() for file in (run.path / "shards/0").iterdir()} == frozen
    assert main(["rebuild", "--check", str(run.path)]) == 0
    capsys.readouterr()


def test_a_worker_that_stood_still_is_client_bound_and_no_other_is(tmp_path):
    plan = LoadPlan(concurrency=4, requests=240, prompts="distinct", salt=3)

    async def stand_still(server: Scripted, path: Path) -> None:
        while len(server.requests) < 40:
            await asyncio.sleep(0.01)
        process = worker_pid(path, 1)
        os.kill(process, signal.SIGSTOP)
        await asyncio.sleep(5)
        os.kill(process, signal.SIGCONT)

    run, _ = asyncio.run(fleet_run(tmp_path, plan, LocalFleet(2), slowly, stand_still))
    assert run.manifest.status == "complete"
    whole_rows(run)
    still = run.pauses.stalls.assign(ns=lambda rows: rows.to_ns - rows.from_ns)
    longest = still.groupby("shard").ns.max()
    assert longest[1] > 4_000_000_000 > longest.get(0, 0)
    assert any(reason.startswith("worker 1:") for reason in run.summary.client.bound)
    assert "worker 1:" in next(finding.evidence for finding in run.findings if finding.rule == "client-bound")


def test_a_stopped_load_stops_all_workers_and_keeps_every_row(tmp_path):
    async def run() -> tuple[Path, list[int]]:
        processes = list[int]()

        async def stop(server: Scripted, path: Path) -> None:
            while len(server.requests) < 20:
                await asyncio.sleep(0.01)
            processes.extend(worker_pid(path, index) for index in (0, 1))
            task.cancel()

        plan = LoadPlan(concurrency=4, requests=5000)
        task = asyncio.ensure_future(fleet_run(tmp_path, plan, LocalFleet(2), slowly, stop))
        await asyncio.gather(task, return_exceptions=True)
        [folder] = (tmp_path / "runs").iterdir()
        return folder, processes

    folder, processes = asyncio.run(run())
    assert not any(Path(f"/proc/{process}").exists() for process in processes)
    found = Run.load(folder)
    assert (found.manifest.status, found.manifest.reason) == ("incomplete", "stopped before its end")
    assert whole_rows(found) == 0 and found.summary.requests == 5000 and found.summary.cancelled > 4000


COORDINATOR = """
import asyncio, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from fleets import fleet_run, slowly
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_client.plan import LoadPlan
asyncio.run(fleet_run(Path(sys.argv[2]), LoadPlan(concurrency=4, requests=5000), LocalFleet(2), slowly))
"""


def test_workers_end_with_a_killed_coordinator_whose_run_is_finished_from_theirs(tmp_path):
    support = str(Path(__file__).parents[2] / "support")
    process = subprocess.Popen([sys.executable, "-c", COORDINATOR, support, str(tmp_path)])
    try:
        spools = [f"shards/{index}/traces.jsonl" for index in (0, 1)]

        def both_send() -> bool:
            files = [file for name in spools for file in tmp_path.glob(f"runs/*/{name}")]
            return len(files) == 2 and all(file.stat().st_size > 10_000 for file in files)

        wait_until(both_send, "both workers sent")
        workers = [pid for pid in below(process.pid, 2) if "session.worker" in command_of(pid)]
    finally:
        process.kill()
        process.wait()
    wait_until(lambda: not any(Path(f"/proc/{pid}").exists() for pid in workers), "the workers ended")
    [folder] = (tmp_path / "runs").iterdir()
    run = finish_interrupted(folder)
    assert run.finished and run.manifest.status == "incomplete"
    assert whole_rows(run) == 0 and run.summary.completed > 0
    assert main(["rebuild", "--check", str(folder)]) == 0


class NeverStarts(LocalFleet):
    """Worker 1 ends at once."""

    def command(self, index: int) -> Sequence[str]:
        return super().command(index) if index == 0 else [sys.executable, "-c", "raise SystemExit('no')"]


def test_a_worker_that_does_not_start_ends_the_load_before_it_began(tmp_path):
    run, server = asyncio.run(fleet_run(tmp_path, CLOSED, NeverStarts(2)))
    assert run.manifest.status == "incomplete"
    assert run.manifest.reason.startswith("worker 1 ended before the load began: read ")
    assert (run.path / "shards/1/worker.log").read_text() == "no\n"
    assert not [body for _, body in server.requests if b"requests" in body] and run.summary.completed == 0


def test_what_cannot_be_divided_is_refused():
    for plan, workers, words in (
        (LoadPlan(sweep=(1, 2)), 2, "a sweep is sent by one process"),
        (LoadPlan(concurrency=2), 3, "3 workers need as many slots, not 2: use 2 workers at most"),
        (LoadPlan(concurrency=8, requests=3), 4, "4 workers need a request each, not 3 in all: use 3 workers at most"),
    ):
        with pytest.raises(UsageError, match=words):
            check_division(plan, workers)
