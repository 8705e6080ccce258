"""Rules on a load whose requests are due at times of their own (an open loop)."""

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import SingleResultRule, rule

LATE_SHARE = 0.05  # of the median TTFT: allowed delay of a send at p99
LATE_S = 0.001  # a delay below this one is never a finding


@rule(
    "offered-load-not-delivered",
    "warning",
    reason="The server did not get the load that the figures are quoted for.",
    advice="quote the load that was sent: give the client a core of its own, raise the limit of requests in flight, or"
    " offer less",
)
def _offered_load_not_delivered(result: Result) -> str | None:
    """Requests were late, or not sent because the plan's limit of requests in flight was reached."""
    summary = result.summary
    if summary.rate_planned is None:
        return None
    found = []
    if over := summary.failures.get("over_limit"):
        found.append(f"{over} of {summary.requests} requests were due at the limit of requests in flight")
    if summary.lost:
        found.append(f"{summary.lost} of {summary.requests} requests were lost with their worker")
    late_s, ttft_s = summary.client_queue_s.p99, summary.ttft_s.p50
    if late_s is not None and ttft_s is not None and late_s > max(LATE_S, LATE_SHARE * ttft_s):
        found.append(f"requests were sent up to {late_s * 1e3:.3g} ms (p99) after they were due")
    return "; ".join(found) or None


OPEN_LOOP_RULES: tuple[SingleResultRule, ...] = (_offered_load_not_delivered,)
