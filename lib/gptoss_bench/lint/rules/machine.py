"""Rules on the machine and the server beside the load: GPU and CPU telemetry, and server metrics."""

from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import SingleResultRule, rule
from gptoss_bench.runs import PHASE_INFERENCE, AgreementRow, GpuTelemetry, HostPhase
from gptoss_bench.stats import (
    CLIENT_BOUND_IDLE_SHARE,
    FIRST_EVENT,
    UNCERTAIN_SHARE,
    client_bound,
    client_pairs,
    measured_rows,
    server_range_text,
)

THROTTLED_SHARE = 0.05
CACHED_SHARE = 0.05
STEAL_SHARE = 0.02
BUSY_SHARE = 0.90
SHARED_CORES = 0.80


@rule(
    "gpu-lost",
    "warning",
    reason="What the GPU did after it stopped reporting is unknown.",
    advice="check the driver's log (dmesg), then rerun",
)
def _gpu_lost(result: Result) -> str | None:
    gpu = _gpu(result)
    return gpu.words or None if gpu.devices else None


@rule(
    "arrivals-uncertain",
    "error",
    reason="The client read so late that the percentile is not known to within 5 %.",
    advice="do not quote these percentiles: give the client a core of its own and measure again",
)
def _arrivals_uncertain(result: Result) -> str | None:
    found = [pair.text for pair in client_pairs(result.summary, UNCERTAIN_SHARE)]
    return f"known only within bounds: {'; '.join(found)}" if found else None


@rule(
    "client-stalled",
    "warning",
    reason="While the client stood still it neither read nor sent.",
    advice="find out what used the CPU then (stalls.parquet has the times), and measure again",
)
def _client_stalled(result: Result) -> str | None:
    stalls = result.summary.stalls
    if stalls is None or not stalls.count:
        return None
    total_s, longest_s = stalls.total_s or 0.0, stalls.longest_s or 0.0
    times = f"{stalls.count} time{'s' * (stalls.count != 1)}"
    return f"the client stood still {times}, {total_s:.3g} s in total, {longest_s:.3g} s at most"


@rule(
    "slots-idle",
    "warning",
    reason="While a slot waits for the client, the server has less load than planned.",
    advice="use fewer slots, or more clients",
)
def _slots_idle(result: Result) -> str | None:
    share = result.summary.slot_idle_share
    if share is None or share <= CLIENT_BOUND_IDLE_SHARE:
        return None
    return f"slots waited {share:.1%} of the time for the client to send their next request"


@rule(
    "client-bound-unknown",
    "note",
    reason="Without arrival intervals nobody knows how late the client read.",
    advice="measure again with this version of the kit before you trust a high percentile",
)
def _client_bound_unknown(result: Result) -> str | None:
    unknown = client_bound(result.summary).unknown
    return f"whether the client was the limit is {unknown}" if unknown else None


@rule(
    "server-and-client-disagree",
    "warning",
    reason="Server and client report different times for the same requests: one of them is wrong, or something between"
    " them adds time.",
    advice="check what lies between the two: a network, a proxy, a busy core, another client of the server",
)
def _server_and_client_disagree(result: Result) -> str | None:
    """Show times to the first token first: they matter most."""
    apart = [row for row in result.summary.agreement if row.agrees is False]
    if not apart:
        return None
    shown = ([row for row in apart if row.quantity == FIRST_EVENT] or apart)[:2]
    more = f"; {len(apart) - len(shown)} more rows" if len(apart) > len(shown) else ""
    return "; ".join(_agreement_text(row) for row in shown) + more


def _agreement_text(row: AgreementRow) -> str:
    unit = f" {row.unit}" if row.unit else ""
    client, server = f"{row.client:.4g}{unit}", f"{server_range_text(row)}{unit}"
    return f"{row.quantity}, {row.statistic}: the client measured {client}, the server reports {server}"


@rule(
    "server-shared",
    "warning",
    reason="Requests of other clients took time and memory of the server.",
    advice="measure while no other client uses the server",
)
def _server_shared(result: Result) -> str | None:
    completed, sent = result.server_counts.get("requests", 0), len(measured_rows(result.requests))
    if completed <= sent:
        return None
    return f"the server completed {completed:.0f} requests while this run sent it {sent}"


@rule(
    "gpu-throttled",
    "warning",
    reason="A GPU that is limited by heat or power is slower than the same card elsewhere.",
    advice="cool it, or report the power limit and the clock with the result",
)
def _gpu_throttled(result: Result) -> str | None:
    shares = _gpu(result).throttled_share or {}
    found = [f"{reason} in {share:.0%} of the samples" for reason, share in shares.items() if share > THROTTLED_SHARE]
    return f"the GPU was throttled: {', '.join(found)}" if found else None


@rule(
    "gpu-shared",
    "warning",
    reason="Another process took memory and time of the GPU.",
    advice="stop these processes: they take memory and time from the engine",
)
def _gpu_shared(result: Result) -> str | None:
    phase = _gpu(result).by_phase.get(PHASE_INFERENCE)
    count = phase.other_processes_max if phase else None
    return f"{count:.0f} processes other than the engine used the GPU" if count else None


@rule(
    "cpu-stolen",
    "warning",
    reason="Part of the time, the hypervisor gave the machine's cores to another guest.",
    advice="the times include waits outside the engine: measure again, or on another machine",
)
def _cpu_stolen(result: Result) -> str | None:
    share = _host(result).steal_share or 0.0
    return (
        f"the hypervisor gave {share:.1%} of this machine's CPU time to other guests" if share > STEAL_SHARE else None
    )


@rule(
    "prompts-from-cache",
    "note",
    reason="TTFT is then that of prompts which the server had already computed.",
    advice="send distinct prompts: this is the TTFT of prompts from the cache",
)
def _prompts_from_cache(result: Result) -> str | None:
    counts = result.server_counts
    if "prefix_cache_queries" in counts:
        hits, queried = counts.get("prefix_cache_hits", 0.0), counts["prefix_cache_queries"]
    else:
        hits = counts.get("prompt_tokens_cached", 0.0)
        queried = hits + counts.get("prompt_tokens", 0.0)
    asked_for = result.summary.conversations is not None  # a later turn is to be found in the cache
    if asked_for or not queried or hits / queried <= CACHED_SHARE:
        return None
    return f"the server took {hits / queried:.0%} of the prompt tokens from its cache"


@rule(
    "cpu-full",
    "note",
    reason="Where all cores are busy, client and server wait for a core.",
    advice="client and engine compete for cores if both run here: the machine may be the limit",
)
def _cpu_full(result: Result) -> str | None:
    share = _host(result).cpu_share or 0.0
    return f"all cores of this machine were {share:.0%} busy" if share > BUSY_SHARE else None


@rule(
    "client-and-engine-share-cores",
    "warning",
    reason="Where the engine needs the cores of the client, it makes the client late, and the client makes it slow.",
    advice="run the client on another machine, or give each its own cores (taskset)",
)
def _client_and_engine_share_cores(result: Result) -> str | None:
    telemetry, machine = result.summary.telemetry, result.manifest.machine
    used = _host(result)
    if result.stand_in or telemetry is None or not telemetry.engine_here or machine is None or not machine.cores:
        return None
    client, engine = used.client_cpu, used.engine_cpu
    if client is None or engine is None or client + engine <= SHARED_CORES * machine.cores:
        return None
    return f"the client used {client:.2g} cores and the engine {engine:.2g}, of {machine.cores} in the same machine"


@rule(
    "no-server-metrics",
    "note",
    reason="Only the client measured the times; nothing confirms them.",
    advice="only the client measured these figures: use a server with a metrics endpoint to confirm them",
)
def _no_server_metrics(result: Result) -> str | None:
    why = result.summary.server_metrics.words if result.summary.server_metrics else None
    return f"the server reported no times: {why}" if why and not result.summary.agreement else None


@rule(
    "no-machine-telemetry",
    "note",
    reason="Whether GPU and host worked normally is unknown.",
    advice="check the machine before you quote this result",
)
def _no_machine_telemetry(result: Result) -> str | None:
    why = result.summary.telemetry.words if result.summary.telemetry else None
    return f"GPU and host: {why}" if why else None


def _gpu(result: Result) -> GpuTelemetry:
    """Return the telemetry of this machine's GPU, empty if the engine ran on another machine."""
    telemetry = result.summary.telemetry
    return telemetry.gpu if telemetry is not None and telemetry.engine_here else GpuTelemetry()


def _host(result: Result) -> HostPhase:
    """Return the telemetry of this machine's CPUs during the load."""
    telemetry = result.summary.telemetry
    return telemetry.host.by_phase.get(PHASE_INFERENCE, HostPhase()) if telemetry is not None else HostPhase()


MACHINE_RULES: tuple[SingleResultRule, ...] = (
    _arrivals_uncertain,
    _client_stalled,
    _slots_idle,
    _client_bound_unknown,
    _gpu_lost,
    _server_and_client_disagree,
    _server_shared,
    _gpu_throttled,
    _gpu_shared,
    _cpu_stolen,
    _prompts_from_cache,
    _cpu_full,
    _client_and_engine_share_cores,
    _no_server_metrics,
    _no_machine_telemetry,
)
