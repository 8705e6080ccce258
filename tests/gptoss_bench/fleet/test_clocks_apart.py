"""Workers whose clocks are 5,000 s apart: instants are brought together to within the bound, durations stay."""

import asyncio
import shutil
import subprocess
from collections.abc import Sequence

import pytest

from fleets import fleet_run
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_bench.runs.folder import Run
from gptoss_client.plan import LoadPlan

AHEAD_S = 5000
NAMESPACE = ["unshare", "--user", "--map-root-user", "--time", "--monotonic", str(AHEAD_S)]


def has_time_namespaces() -> bool:
    if shutil.which("unshare") is None:
        return False
    return subprocess.run([*NAMESPACE, "true"], capture_output=True, check=False).returncode == 0


class ClocksApart(LocalFleet):
    """Worker 1 runs in a time namespace of its own."""

    def command(self, index: int) -> Sequence[str]:
        return [*(NAMESPACE if index else []), *super().command(index)]


@pytest.mark.skipif(not has_time_namespaces(), reason="this system allows no time namespaces (unshare --time)")
def test_clocks_that_are_5000_s_apart_are_brought_together(tmp_path):
    plan = LoadPlan(concurrency=4, rate="40", arrivals="constant", requests=80, prompts="distinct", salt=3)
    run, _ = asyncio.run(fleet_run(tmp_path, plan, ClocksApart(2)))
    assert run.manifest.status == "complete"
    here, there = run.manifest.workers
    bound_ns = there.clock.bound_ns + here.clock.bound_ns
    # Both workers have the one clock of this machine but for the namespace, so the offset of each is known exactly.
    assert abs(here.clock.offset_ns) <= here.clock.bound_ns
    assert abs(there.clock.offset_ns - AHEAD_S * 10**9) <= there.clock.bound_ns
    assert run.summary.fleet.clock_bound_s == pytest.approx(bound_ns / 1e9)
    rows = run.requests.sort_values("request_id")
    begin_ns = here.begin_ns
    due = [begin_ns + int(offset * 1e9) for offset in plan.arrival_offsets()]
    assert (abs(rows.scheduled_ns.to_numpy() - due) <= max(here.clock.bound_ns, there.clock.bound_ns)).all()
    own = [Run.load(run.path / "shards" / str(index)).requests for index in (0, 1)]
    true_ends_ns = max(int(own[0].done_ns.max()), int(own[1].done_ns.max()) - AHEAD_S * 10**9)
    true_begin_ns = min(int(own[0].sent_ns.min()), int(own[1].sent_ns.min()) - AHEAD_S * 10**9)
    assert abs(run.summary.wall_s * 1e9 - (true_ends_ns - true_begin_ns)) <= bound_ns + 1
    for index in (0, 1):
        merged = rows[rows["shard"] == index].set_index("request_id")
        for name in ("ttft_s", "e2e_s", "done_s", "tpot_s", "client_queue_s"):
            assert own[index].set_index("request_id").sort_index()[name].equals(merged[name])
