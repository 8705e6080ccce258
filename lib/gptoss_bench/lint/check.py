"""All rules that one result is held against, wherever it comes from: a run that ends, one on disk, another's file."""
# MERGED: Why each finding of the linter makes a result untrustworthy, in a sentence for the reader. Pure.

from collections.abc import Mapping
from typing import Any

import pandas as pd

from gptoss_bench.lint.rules.machine import MACHINE_RULES
from gptoss_bench.lint.rules.results import RESULT_RULES, Rule, check_requests
from gptoss_bench.lint.rules.setup import SETUP_RULES
from gptoss_bench.runs import Finding

RULES: tuple[Rule, ...] = (*RESULT_RULES, *MACHINE_RULES, *SETUP_RULES)


def check_run(summary: Mapping[str, Any], requests: pd.DataFrame, manifest: Mapping[str, Any]) -> list[Finding]:
    """What makes a result untrustworthy, the gravest first. `manifest` holds what is known of how it was made."""
    return check_requests({**summary, "manifest": manifest}, requests, RULES)


REASONS = {
    "ttft-is-a-fraction-of-latency": "A first token does not come at a fixed share of the whole time: such a TTFT was"
    " computed, not seen.",
    "littles-law": "Rate, latency and requests in flight bind each other: where they do not agree, one of them is of"
    " other requests.",
    "timestamps-out-of-order": "An event that came before its request, or before the one ahead of it, has a wrong"
    " time.",
    "failures": "Rates and latencies are then of those that survived, and the server was spared the rest.",
    "role-chunk-counted": "The empty first chunk comes before any token does: a TTFT that ends there is too short.",
    "gpu-lost": "What a GPU did after it fell silent is not known.",
    "client-bound": "A late client sends late and may stamp late: part of the times is its own.",
    "one-prompt": "With a prefix cache, all requests but the first are spared most of their prefill.",
    "most-answers-truncated": "Answers that are cut at the limit have the limit's length, not the model's: latency and"
    " rate follow it.",
    "no-answer": "A request that spent its budget on reasoning has no time to its answer, and is missing in TTFA.",
    "token-counts-disagree": "Every rate of tokens rests on their count.",
    "concurrency-not-delivered": "The server was under less load than the figure says.",
    "server-and-client-disagree": "Two witnesses of the same requests tell different times: one is wrong, or something"
    " lies between them.",
    "server-shared": "Others' requests took time and memory that these would have had.",
    "partial-offload": "Layers outside the GPU run at the speed of the system's memory.",
    "gpu-throttled": "A GPU that is held back by heat or power is slower than the same card elsewhere.",
    "gpu-shared": "Another process took its memory and its time.",
    "cold-load-inside": "Loading a model is no serving, and the first requests waited for it.",
    "clock-step": "A stamp of the kernel is of the wall clock: an interval across a step is off by it.",
    "wall-clock-used": "A clock that can be set while one measures gives no reliable difference.",
    "quantisation-differs": "Other weights have another size and speed than the published ones.",
    "cpu-stolen": "The machine's cores were with another guest for a part of the time.",
    "engine-noted": "What an engine says of itself, or a version that was not tried, belongs beside its figures.",
    "names-differ": "Another tool means something else by the same word.",
    "mixed-versions": "Between two versions of an engine anything may have changed.",
    "mixed-quantisation": "Other weights have another size and speed.",
    "mixed-hardware": "The hardware decides before anything else does.",
    "mixed-models": "Another model is another amount of work.",
    "prompts-from-cache": "TTFT is then that of prompts which the server had already computed.",
    "no-warmup": "The first requests may pay for loading, compiling and opening connections.",
    "percentile-not-resolved": "Fewer than 10 samples lie beyond it: the next run will show another one.",
    "percentile-rule-unnamed": "Rules for percentiles differ most where the samples are few.",
    "ramp-and-tail-inside": "While slots fill and empty, the server is under less load than the figure says.",
    "cpu-full": "Where all cores are busy, client and server wait for each other's.",
    "no-server-metrics": "The times are the client's word alone.",
    "no-machine-telemetry": "Whether GPU and machine were in order is not known.",
}
