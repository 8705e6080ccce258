"""Parse the limits of a service-level objective. It imports no table library, so a wrong limit costs no time."""

import re

from gptoss_bench.runs import Slo
from gptoss_client import UsageError

_LIMIT = re.compile(r"(ttft|tpot|e2e)=(\d+(?:\.\d+)?)(ms|s)", re.ASCII)


def parse_slo(text: str) -> Slo:
    """Parse limits such as "ttft=0.5s,tpot=30ms,e2e=10s". Raises UsageError for anything else."""
    limits: dict[str, float] = {}
    for part in text.replace(" ", "").lower().split(","):
        found = _LIMIT.fullmatch(part)
        if found is None or float(found[2]) == 0 or f"{found[1]}_s" in limits:
            raise UsageError(
                f"limit {part[:40]!r} is not one of ttft, tpot and e2e with a time, once each: write"
                " ttft=0.5s,tpot=30ms,e2e=10s"
            )
        limits[f"{found[1]}_s"] = float(found[2]) / (1000 if found[3] == "ms" else 1)
    return Slo(**limits)
