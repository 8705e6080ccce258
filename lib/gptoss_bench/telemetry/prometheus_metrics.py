"""Read a server's /metrics and compare two readings: text enters, numbers leave."""

import math
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING, Any, Self

from prometheus_client.parser import text_string_to_metric_families

from gptoss_client import UsageError, one_line

if TYPE_CHECKING:  # the sampler only reads: it starts beside a load and has no use for pandas
    from gptoss_bench.runs import HistogramTimes, ServerMetrics

# Our name of a quantity, and the names of engines for it, the present one first. vLLM renamed several between 0.10 and
# 0.15: `time_per_output_token_seconds` was the gap between two outputs, which is now `inter_token_latency_seconds`.
TIMES = {
    "ttft_s": ("vllm:time_to_first_token_seconds",),
    "e2e_s": ("vllm:e2e_request_latency_seconds",),
    "queue_s": ("vllm:request_queue_time_seconds",),
    "prefill_s": ("vllm:request_prefill_time_seconds",),
    "decode_s": ("vllm:request_decode_time_seconds",),
    "itl_s": ("vllm:inter_token_latency_seconds", "vllm:time_per_output_token_seconds"),
    "tpot_s": ("vllm:request_time_per_output_token_seconds",),
}
COUNTS = {
    "requests": ("vllm:request_success_total",),
    "prompt_tokens": ("vllm:prompt_tokens_total", "llamacpp:prompt_tokens_total"),
    "prompt_tokens_cached": ("vllm:prompt_tokens_cached_total", "llamacpp:prompt_tokens_cached_total"),
    "generation_tokens": ("vllm:generation_tokens_total", "llamacpp:tokens_predicted_total"),
    "prompt_seconds": ("llamacpp:prompt_seconds_total",),
    "decode_seconds": ("llamacpp:tokens_predicted_seconds_total",),
    "preemptions": ("vllm:num_preemptions_total",),
    "prefix_cache_queries": ("vllm:prefix_cache_queries_total", "vllm:gpu_prefix_cache_queries_total"),
    "prefix_cache_hits": ("vllm:prefix_cache_hits_total", "vllm:gpu_prefix_cache_hits_total"),
}
GAUGES = {
    "running": ("vllm:num_requests_running", "llamacpp:requests_processing"),
    "waiting": ("vllm:num_requests_waiting", "llamacpp:requests_deferred"),
    "kv_cache_share": ("vllm:kv_cache_usage_perc", "vllm:gpu_cache_usage_perc"),
}
_LARGEST = 1e18  # of a value; the sums and differences of such values are finite
_NAMES = [name for quantities in (TIMES, COUNTS, GAUGES) for names in quantities.values() for name in names]
PREFIXES = tuple(dict.fromkeys(name.partition(":")[0] + ":" for name in _NAMES))


@dataclass(frozen=True, slots=True)
class Histogram:
    """`counts[k]` samples were at most `bounds[k]`, the last of which is infinite; `total` is their exact sum."""

    bounds: tuple[float, ...]
    counts: tuple[float, ...]
    total: float

    @property
    def n(self) -> int:
        """How many samples it holds."""
        return int(self.counts[-1])

    @property
    def mean(self) -> float | None:
        """Exact: buckets have no part in it."""
        return self.total / self.n if self.n else None

    def since(self, earlier: Self) -> Self | None:
        """The samples that came after `earlier`; None where that is no earlier reading of the same histogram."""
        if self.bounds != earlier.bounds:
            return None
        counts = tuple(now - then for now, then in zip(self.counts, earlier.counts, strict=True))
        if min(counts) < 0 or any(low > high for low, high in pairwise(counts)):
            return None
        return type(self)(self.bounds, counts, self.total - earlier.total)

    def between(self, p: float) -> tuple[float, float | None] | None:
        """Between which bounds the `p`-th percentile (inclusive rule) lies; the upper is None beyond the last bucket.

        None where there is no sample.
        """
        if not self.n:
            return None
        position = (self.n - 1) * p / 100  # the percentile is interpolated between the samples on both its sides
        first, last = (bisect_left(self.counts, rank + 1) for rank in (math.floor(position), math.ceil(position)))
        upper = self.bounds[last]
        return (self.bounds[first - 1] if first else 0.0), (upper if math.isfinite(upper) else None)


@dataclass(frozen=True, slots=True)
class Scrape:
    """One reading of /metrics, by our names. `names` has the engine's own name of each that is there."""

    source: str
    times: Mapping[str, Histogram]
    counts: Mapping[str, float]
    gauges: Mapping[str, float]
    names: Mapping[str, str]


def read_metrics(text: str, sources: Mapping[str, str] | None = None) -> Scrape:
    """Return the quantities that this kit knows; those of all label sets of one name (models, engines) are added up.

    `sources` has the engine of each prefix of metric names, such as {"vllm:": "vllm"}; an unknown prefix stands for
    itself. Raises UsageError if the text is not Prometheus text, or has none of the quantities.
    """
    samples: defaultdict[str, list[tuple[float, float]]] = defaultdict(list)
    try:
        for family in text_string_to_metric_families(text):
            for sample in family.samples:
                value, bound = float(sample.value), float(sample.labels.get("le", math.inf))
                if -_LARGEST <= value <= _LARGEST and not math.isnan(bound):
                    samples[sample.name].append((bound, value))
    except Exception as error:  # of a parser that was not made for any text
        reason = one_line(str(error), 200)
        raise UsageError(f"what the server's /metrics returns is not Prometheus text ({reason})") from error
    names: dict[str, str] = {}
    times: dict[str, Histogram] = {}
    counts: dict[str, float] = {}
    gauges: dict[str, float] = {}
    for ours, theirs in TIMES.items():
        if (name := _first(theirs, samples, "_bucket")) and (found := _histogram(samples, name)):
            times[ours], names[ours] = found, name
    for wanted, values in ((COUNTS, counts), (GAUGES, gauges)):
        for ours, theirs in wanted.items():
            if name := _first(theirs, samples):
                values[ours], names[ours] = sum(value for _, value in samples[name]), name
    if not names:
        known = " or ".join(f"{prefix}*" for prefix in PREFIXES)
        raise UsageError(f"the server's /metrics names nothing of {known} that this kit knows")
    engines = {(sources or {}).get(prefix, prefix) for prefix in map(_prefix, names.values())}
    return Scrape("+".join(sorted(engines)), times, counts, gauges, names)


def window(before: Scrape, after: Scrape) -> "ServerMetrics":
    """Return what came between two readings."""
    from gptoss_bench.runs import ServerMetrics

    times, counts, backwards = {}, {}, []
    for name, histogram in after.times.items():
        earlier = before.times.get(name)
        came = histogram.since(earlier) if earlier else histogram
        if came is None:
            backwards.append(name)
        else:
            times[name] = _reported(came)
    for name, value in after.counts.items():
        difference = value - before.counts.get(name, 0.0)
        if difference < 0:
            backwards.append(name)
        else:
            counts[name] = difference
    names = {name: after.names[name] for name in (*times, *counts)}
    expected = [name for name in (*TIMES, *COUNTS) if _is_of(name, after)]
    absent = [name for name in expected if name not in after.names]
    return ServerMetrics(
        source=after.source, times=times, counts=counts, names=names, absent=absent, restarted=backwards
    )


def _reported(histogram: Histogram) -> "HistogramTimes":
    from gptoss_bench.runs import HistogramTimes
    from gptoss_bench.stats import REPORTED_PERCENTILES

    bounds = {name: histogram.between(p) for name, p in REPORTED_PERCENTILES.items()}
    return HistogramTimes(n=histogram.n, mean=histogram.mean, **bounds)


def _is_of(name: str, scrape: Scrape) -> bool:
    present = set(map(_prefix, scrape.names.values()))
    return any(_prefix(theirs) in present for theirs in (TIMES | COUNTS)[name])


def _prefix(name: str) -> str:
    return name.partition(":")[0] + ":"


def _first(theirs: tuple[str, ...], samples: Mapping[str, Any], suffix: str = "") -> str | None:
    return next((name for name in theirs if samples.get(name + suffix)), None)


def _histogram(samples: Mapping[str, list[tuple[float, float]]], name: str) -> Histogram | None:
    by_bound: defaultdict[float, float] = defaultdict(float)
    for bound, value in samples[f"{name}_bucket"]:
        by_bound[bound] += value
    bounds = tuple(sorted(by_bound))
    counts = tuple(by_bound[bound] for bound in bounds)
    if not bounds or bounds[-1] != math.inf or min(counts) < 0 or any(low > high for low, high in pairwise(counts)):
        return None
    return Histogram(bounds, counts, sum(value for _, value in samples.get(f"{name}_sum", [])))
