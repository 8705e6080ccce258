"""Workers on a Dask cluster: the same sums as on one machine, and a killed Dask worker is not run again."""

import asyncio
import os
import signal
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest

from fleets import fleet_run, slowly
from gptoss_bench.cli.main import main
from gptoss_bench.fleet.dask_fleet import DaskFleet
from gptoss_bench.runs.folder import Run
from gptoss_client.errors import UsageError
from gptoss_client.plan import LoadPlan
from scripted import Scripted, scripted
from serving import PATIENCE_S

distributed = pytest.importorskip("distributed", reason="distributed is not installed: pip install '.[scale]'")

PLAN = LoadPlan(concurrency=4, requests=120, warmup=2, prompts="distinct", salt=3)


@pytest.fixture
def client() -> Iterator["distributed.Client"]:
    options = {"n_workers": 2, "threads_per_worker": 1, "processes": True, "dashboard_address": None}
    with distributed.LocalCluster(**options) as cluster, distributed.Client(cluster) as found:
        yield found


def ended(run: Run) -> Counter[str]:
    assert run.requests.request_id.is_unique and len(run.requests) == PLAN.requests + PLAN.warmup
    return Counter(run.requests.outcome)


def test_a_load_on_a_cluster_is_a_whole_run_here(client, tmp_path):
    fleet = DaskFleet(client)
    assert fleet.count == 2
    run, server = asyncio.run(fleet_run(tmp_path, PLAN, fleet))
    assert (run.manifest.status, run.manifest.reason) == ("complete", None)
    assert ended(run) == {"completed": 122}
    assert len(server.requests) == 122 + 1  # and the question whether the server is ready
    assert all(worker.clock.drift_ppm is not None for worker in run.manifest.workers)
    assert client.run_on_scheduler(lambda dask_scheduler: dask_scheduler.allowed_failures) == 3
    assert main(["rebuild", "--check", str(run.path)]) == 0


def dask_worker_of(client: "distributed.Client", index: int) -> int:
    address = sorted(client.scheduler_info(n_workers=-1)["workers"])[index]
    return client.run(os.getpid, workers=[address])[address]


def test_a_killed_dask_worker_is_not_run_again(client, tmp_path):
    process = dask_worker_of(client, 1)

    async def kill(server: Scripted, path: Path) -> None:
        while len(server.requests) < 60:
            await asyncio.sleep(0.01)
        os.kill(process, signal.SIGKILL)

    run, server = asyncio.run(fleet_run(tmp_path, PLAN, DaskFleet(client), slowly, kill))
    assert run.manifest.reason == "worker 1 of 2 was lost: its process ended"
    outcomes = ended(run)
    assert set(outcomes) == {"completed", "lost"} and outcomes["lost"] == run.summary.lost > 0
    assert run.requests[run.requests["shard"] == 1].outcome.eq("completed").any()  # read from its spool
    bodies = Counter(body for _, body in server.requests)
    assert sum(bodies.values()) - len(bodies) <= 1  # no request was sent twice, but for the question of readiness
    assert main(["rebuild", "--check", str(run.path)]) == 0


def naive_part(url: str, index: int) -> int:
    """Send a part of a load in a Dask task, as it is usually written."""
    from gptoss_client import Endpoint, LoadShard, run_load

    endpoint = Endpoint(url=url, model="m", dialect="openai", engine="scripted")
    traces: list[object] = []
    asyncio.run(run_load(PLAN, endpoint, traces.append, shard=LoadShard(index, 2)))
    return len(traces)


@pytest.mark.slow
def test_the_default_settings_of_dask_send_the_part_of_a_killed_worker_twice(client):
    async def run() -> Counter[bytes]:
        async with scripted(slowly) as server:
            parts = [client.submit(naive_part, server.endpoint.url, index) for index in range(2)]
            while len(server.requests) < 60:
                await asyncio.sleep(0.01)
            busy = await asyncio.to_thread(client.processing)
            address = next(at for at, keys in sorted(busy.items()) if keys)
            process = (await asyncio.to_thread(client.run, os.getpid, workers=[address]))[address]
            os.kill(process, signal.SIGKILL)
            await asyncio.wait_for(asyncio.to_thread(client.gather, parts), PATIENCE_S)
            return Counter(body for _, body in server.requests)

    bodies = asyncio.run(run())
    assert sum(count > 1 for count in bodies.values()) > 10


def test_an_address_that_is_no_scheduler_is_refused():
    with pytest.raises(UsageError, match="fleet must be dask://host:port of a Dask scheduler, not 'tcp://a:1'"):
        DaskFleet.at("tcp://a:1")
