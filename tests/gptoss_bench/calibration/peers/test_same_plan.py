"""One plan sent by vllm-rs (the compiled `vllm bench serve`) and by this kit: both agree within their errors."""

import asyncio
from pathlib import Path

import pytest

from gptoss_bench.calibration.accuracy import KIT_CLIENT
from gptoss_bench.calibration.peers.registry import (
    PEERS_DIR,
    Job,
    choose_peers,
    peer_command,
    peer_environment,
    peer_version,
)
from gptoss_bench.calibration.peers.reports import ErrorPercentiles, PeerReport, read_report, report_errors
from gptoss_bench.calibration.process_cost import run_tree
from gptoss_bench.calibration.reference.engine import serve_reference
from gptoss_bench.calibration.reference.plan import ReferencePlan
from gptoss_bench.calibration.reference.send_log import read_send_log, server_lateness_ms
from gptoss_client.errors import UsageError
from serving import PATIENCE_S

STREAMS, REQUESTS, TOKENS = 8, 64, 20
VLLM = "vllm-rs"
# The role chunk comes in one write with the first token, because the TTFT of vLLM ends at either.
PACE = ReferencePlan(ttft_s=0.2, itl_s=0.025, tokens=TOKENS, role="first")


async def reports(where: Path) -> dict[str, tuple[PeerReport, ErrorPercentiles, float]]:
    """Return of each client what it reports, its errors, and how late the server was (p99, ms)."""
    found = {}
    for peer in choose_peers([VLLM]):
        folder = where / peer.kind
        folder.mkdir()
        async with serve_reference(PACE, folder) as endpoint:
            job = Job(endpoint.url, STREAMS, REQUESTS, TOKENS, folder / "job")
            job.folder.mkdir()
            log = job.folder / "output.log"
            cost = await run_tree(peer_command(peer, job), peer_environment(peer), log, limit_s=PATIENCE_S)
            assert cost.code == 0, log.read_text(errors="replace")
        sent = read_send_log(folder / "send_log.parquet").events
        report = read_report(peer, job)
        of_load = sent.groupby("stream")["output"].sum() == TOKENS  # others ask whether the server is ready
        own = sent[sent["stream"].isin(of_load[of_load].index)]
        assert own["stream"].nunique() >= REQUESTS
        found[peer.name] = report, report_errors(report, STREAMS, own), server_lateness_ms(own)["p99"] or 0.0
    return found


@pytest.mark.slow
def test_the_same_plan_by_vllm_bench_and_by_this_kit_agrees_within_the_errors_of_both(tmp_path):
    try:
        peer_version(next(peer for peer in choose_peers([VLLM]) if peer.name == VLLM), PEERS_DIR)
    except UsageError as error:
        pytest.skip(f"{VLLM}: {error}")
    found = asyncio.run(reports(tmp_path))
    (kit, own, own_late), (vllm, its, its_late) = found[KIT_CLIENT], found[VLLM]
    assert len(kit.requests) == len(vllm.requests) == REQUESTS
    assert own.requests == its.requests == REQUESTS - STREAMS
    servers_ms = own_late + its_late
    for name, allowed_ms in (
        ("ttft_s", own.ttft_p99_ms + its.ttft_p99_ms + servers_ms),
        ("itl_s", own.itl_p99_ms + its.itl_p99_ms + servers_ms),
    ):
        kits, vllms = (
            (report.requests if name == "ttft_s" else report.events)[name].median() * 1e3 for report in (kit, vllm)
        )
        assert abs(kits - vllms) <= allowed_ms, (name, kits, vllms)
