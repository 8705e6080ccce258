"""Rules on a load that several worker processes sent together."""

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import SingleResultRule, rule

SPREAD_SHARE = 0.05  # of the median TTFT: allowed time between the begins of two workers


@rule(
    "worker-lost",
    "error",
    reason="A part of the load ended early: the other requests met a server with less to do than planned.",
    advice="run it again; the end of worker.log in the worker's folder may say why it ended",
)
def _worker_lost(result: Result) -> str | None:
    """The process of a worker was gone before its load had ended."""
    fleet = result.summary.fleet
    workers = fleet.workers if fleet else []
    gone = [f"worker {one.shard} of {len(workers)}: {one.gone}" for one in workers if one.gone]
    return f"{'; '.join(gone)}; {result.summary.lost} requests lost" if gone else None


@rule(
    "start-not-together",
    "warning",
    reason="While only some workers send, the server has less to do than planned, and the first requests meet a shorter"
    " queue.",
    advice="give each worker a core of its own and run it again, or a longer load, and quote the steady window",
)
def _start_not_together(result: Result) -> str | None:
    """The workers began further apart than their clocks and the TTFT explain."""
    fleet, ttft_s = result.summary.fleet, result.summary.ttft_s.p50
    if fleet is None or fleet.start_spread_s is None or ttft_s is None:
        return None
    allowed_s = max(fleet.clock_bound_s or 0.0, SPREAD_SHARE * ttft_s)
    if fleet.start_spread_s <= allowed_s:
        return None
    return f"workers began {fleet.start_spread_s * 1e3:.3g} ms apart; {allowed_s * 1e3:.3g} ms would be allowed"


FLEET_RULES: tuple[SingleResultRule, ...] = (_worker_lost, _start_not_together)
