"""Rules on how a result was made, on what its names mean, and on differences between results that are compared."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass

from gptoss_bench.importers import ImportedSummary
from gptoss_bench.lint.results import Result
from gptoss_bench.lint.rules.rule import Evidence, Rule, SingleResultRule, rule
from gptoss_bench.runs import Finding, Manifest, number_at
from gptoss_bench.stats import FIRST_EVENT_TOKENS, measured_rows, non_null

COLD_SHARE = 0.05  # of a request's time, spent on loading the model
RAMP_SHARE = 0.05  # relative difference of the rate over the whole run from the steady rate
HIDDEN_GAP = 5.0  # in TTFTs: allowed time of an answer outside its median gaps
LONG_GAP = 5.0  # in median gaps, at p99
PROVEN_SHARE = 0.9  # of the requests
MONOTONIC = "CLOCK_MONOTONIC"
PUBLISHED_QUANTISATION = {"vllm-h100": "MXFP4", "ollama-a10": "MXFP4", "transformers-bf16": "BF16"}


@rule(
    "role-chunk-counted",
    "warning",
    reason="The empty first chunk arrives before any token: a TTFT that ends there is too short. It is an error where"
    " the gaps of each request show the wait after it.",
    advice="the role chunk seems to count as a token: take TTFT from the first chunk that has text",
)
def _role_chunk_counted(result: Result) -> str | Evidence | None:
    """If TTFT ends at an empty first chunk, the real wait appears as one gap: TPOT is far above the median gap.

    An engine that stops decoding for long prompts has long gaps too. Only the place of the gap tells the two apart, so
    it is proven for a tool that is known to count the chunk and that wrote the gaps. The request table of this kit
    separates the first event of any kind from the first token, so it is not checked.
    """
    if result.requests["ttfc_s"].notna().any():
        return None
    summary = result.summary
    ttft_s, gap_s, tpot_s = summary.ttft_s.p50, summary.itl_s.p50, summary.tpot_s.p50
    tokens, longest_s = summary.completion_tokens.mean, summary.itl_s.p99
    if ttft_s is None or gap_s is None or tpot_s is None or tokens is None or longest_s is None:
        return None
    if longest_s <= LONG_GAP * gap_s:
        return None
    share = summary.wait_after_first_share if isinstance(summary, ImportedSummary) else None
    if share is not None and share >= PROVEN_SHARE:
        text = f"in {share:.0%} of the requests the longest gap is the first one, at least {LONG_GAP:g} times the TTFT"
        advice = "the role chunk counts as a token: take TTFT from the first chunk that has text"
        return Evidence(text, advice, severity="error")
    hidden_s = (tpot_s - gap_s) * (tokens - 1)
    if hidden_s <= HIDDEN_GAP * ttft_s:
        return None
    return f"TTFT is {ttft_s * 1e3:.3g} ms, and each answer has {hidden_s * 1e3:.3g} ms in a few long gaps"


@rule(
    "cold-load-inside",
    "warning",
    reason="Loading a model is not serving, and the first requests waited for it.",
    advice="load the model before the measurement, with a warm-up",
)
def _cold_load_inside(result: Result) -> str | None:
    """The first wave loads the model, or waits for it; on a loaded one each request spends a few ms there."""
    rows = measured_rows(result.requests)
    shares = (rows["server_load_s"] / rows["server_total_s"].fillna(rows["done_s"])).astype("float64")
    slots = max(result.summary.concurrency_planned or 1, 1)
    first, later = non_null(shares[:slots]), non_null(shares[slots:])
    if not len(first) or first.mean() <= COLD_SHARE or (len(later) and later.mean() > first.mean() / 2):
        return None
    return f"loading the model took {first.mean():.0%} of the time of the first requests ({len(first)})"


@rule(
    "partial-offload",
    "warning",
    reason="Layers outside the GPU run at the speed of system memory.",
    advice="the slower part decides the rate: use a GPU that holds the model, or state this with each figure",
)
def _partial_offload(result: Result) -> str | None:
    share, layers, all_layers = (result.number(name) for name in ("vram_share", "gpu_layers", "layers"))
    on_cpu = result.number("cpu_moe_layers")
    found = []
    if share is not None and 0 < share < 1:
        found.append(f"{share:.0%} of the loaded model is in GPU memory")
    if layers is not None and all_layers is not None and 0 <= layers < all_layers:
        found.append(f"{layers:g} of {all_layers:g} layers are on the GPU")
    if layers is not None and on_cpu:
        found.append(f"the experts of {on_cpu:g} layers are on the CPU")
    return "; ".join(found) or None


@rule(
    "context-differs",
    "warning",
    reason="The KV cache, and so the memory and the slots of a server, follow from the context that it serves.",
    advice="state the context that the server has: the memory depends on it",
)
def _context_differs(result: Result) -> str | None:
    """Ollama 0.11 raises a small num_ctx to 8192 in silence."""
    asked, served = number_at(result.manifest.parameters, "options.num_ctx"), result.number("context")
    if asked is None or served is None or asked == served:
        return None
    return f"a context of {asked:g} tokens was requested (num_ctx), the server has {served:g}"


@rule(
    "prompt-cut",
    "warning",
    reason="Some servers cut a prompt that is too long and do not say so: the measured request is another one.",
    advice="raise the server's context, or shorten the prompt",
)
def _prompt_cut(result: Result) -> str | None:
    """No token spans two words, so a prompt has as many tokens as words, or more: an estimate from below."""
    counts = non_null(measured_rows(result.requests)["prompt_tokens"].astype("float64"))
    counts, context = counts[counts > 0], result.number("context")
    if not len(counts):
        return None
    texts = (result.manifest.parameters.get(name) for name in ("system", "prompt"))
    words = sum(len(text.split()) for text in texts if isinstance(text, str))
    if counts.min() < words:
        return f"the server counted {counts.min():.0f} tokens of a prompt of {words} words, at least one token each"
    if context is not None and counts.max() >= context:
        return f"a prompt of {counts.max():.0f} tokens fills the context of {context:.0f} tokens"
    return None


@rule(
    "quantisation-differs",
    "warning",
    reason="Weights of another quantisation have another size and speed than the published ones.",
    advice="compare neither rate nor memory with the published figures",
)
def _quantisation_differs(result: Result) -> str | None:
    published = PUBLISHED_QUANTISATION.get(result.manifest.scenario)
    served = result.manifest.server.quantisation
    if result.stand_in or published is None or not served or published.lower() in served.lower():
        return None
    return f"the published figures are of {published} weights, this server's are {served}"


@rule(
    "clock-step",
    "warning",
    reason="Kernel timestamps use the wall clock: an interval across a step of that clock is wrong by the step.",
    advice="kernel timestamps use that clock: measure again",
)
def _clock_step(result: Result) -> str | None:
    steps = result.manifest.clock.steps if result.manifest.clock else None
    return f"the machine's wall clock was set {steps} times during the measurement" if steps else None


@rule(
    "wall-clock-used",
    "warning",
    reason="Differences of a clock that can be set during a measurement are not reliable.",
    advice="use a monotonic clock, or make sure that the clock is not set",
)
def _wall_clock_used(result: Result) -> str | None:
    source = result.manifest.clock.source if result.manifest.clock else None
    if source is None or source == MONOTONIC:
        return None
    return f"times are differences of the clock {source!r}, which can be set during a measurement"


@rule(
    "ramp-and-tail-inside",
    "note",
    reason="While slots fill and drain, the server has less load than the planned concurrency.",
    advice="quote the rate of a steady window, or send for longer",
)
def _ramp_and_tail_inside(result: Result) -> str | None:
    total, steady = result.summary.output_tok_s_total, result.summary.output_tok_s
    if total is None or (steady is not None and abs(total - steady) <= RAMP_SHARE * steady):
        return None
    if steady is None and _uncounted(result):
        return None  # there is a window, and a longer load would not tell its rate
    beside = (
        "the rate of a steady window is unknown" if steady is None else f"{steady:.1f} tokens/s in the steady window"
    )
    return f"{total:.1f} tokens/s over the whole run, with its beginning and end; {beside}"


@rule(
    "no-token-counts",
    "note",
    reason="Where a response does not say how many tokens each event has, TPOT has bounds and no value, and the rate in"
    " the steady window is unknown.",
    advice="quote both bounds of TPOT, and the rate of the whole run",
)
def _no_token_counts(result: Result) -> Evidence | None:
    missing = _uncounted(result)
    if not missing:
        return None
    summary, endpoint = result.summary, result.manifest.endpoint
    bounds, bounds_s = "has no value", summary.tpot_s.client_pair("p50")
    if bounds_s is not None:
        bounds = f"lies between {bounds_s[0] * 1e3:.3g} and {bounds_s[1] * 1e3:.3g} ms (median)"
    rate = "" if summary.output_tok_s is not None else ", and the rate in the steady window is unknown"
    text = f"{missing} responses have no running token counts: TPOT {bounds}{rate}"
    fields = endpoint.request_fields if endpoint is not None else None
    engine = result.manifest.server.engine
    if endpoint is not None and endpoint.dialect == "ollama":
        fields, engine = [], "Ollama's API"
    quote = "quote both bounds of TPOT, and the rate of the whole run"
    if result.manifest.parameters.get("token_counts"):
        return Evidence(text, f"the server did not send the counts that were asked for: {quote}")
    if fields is None:
        return Evidence(text, f"try --token-counts; where the server refuses it, {quote}")
    if "token_counts" in fields:
        return Evidence(text, "measure again with --token-counts")
    own = summary.server.tok_s.p50 if summary.server else None
    decode = "" if own is None else f"; its own decode rate is {own:,.1f} tokens/s (median)"
    return Evidence(text, f"{engine} cannot send them: {quote}{decode}")


def _uncounted(result: Result) -> int:
    """Return how many completed requests of this kit's client have no TPOT for want of running token counts."""
    return result.summary.tpot_missing.get(FIRST_EVENT_TOKENS, 0)


@rule(
    "percentile-rule-unnamed",
    "note",
    reason="Interpolation rules for percentiles differ most where there are few samples.",
    advice="name the interpolation rule",
)
def _percentile_rule_unnamed(result: Result) -> str | None:
    summary = result.summary
    shown = [name for name in ("ttft_s", "itl_s", "tpot_s", "done_s") if summary.distribution(name).p99 is not None]
    if not shown or summary.percentile_rule:
        return None
    return f"no interpolation rule is named for the percentiles of {', '.join(shown)}"


@rule(
    "engine-noted",
    "note",
    reason="Remarks of the engine, or a version that was not tried, belong beside its figures.",
    advice="state this with the figures",
)
def _engine_noted(result: Result) -> str | None:
    """Report what was noted when the engine was ready, such as a version that was not tried with this kit."""
    notes = result.fact("notes")
    return "; ".join(map(str, notes)) or None if isinstance(notes, list) else None


SETUP_RULES: tuple[SingleResultRule, ...] = (
    _role_chunk_counted,
    _cold_load_inside,
    _partial_offload,
    _context_differs,
    _prompt_cut,
    _quantisation_differs,
    _clock_step,
    _wall_clock_used,
    _ramp_and_tail_inside,
    _no_token_counts,
    _percentile_rule_unnamed,
    _engine_noted,
)

NAMES_DIFFER = Rule(
    "names-differ",
    "note",
    reason="Another tool gives the same name another meaning.",
    advice="compare only results with the same meaning of the name",
)


@dataclass(frozen=True, slots=True)
class ComparisonRule(Rule):
    """A rule that compared results have one `condition` in common; `value` reads it, "" where it is unknown."""

    condition: str
    value: Callable[[Manifest], str]


def differing_conditions(manifests: Iterable[tuple[str, Manifest]]) -> list[Finding]:
    """Return a finding for each condition that differs between compared results, given as (name, manifest).

    The conditions are engine and version, quantisation, hardware and model. Unknown values are not compared.
    """
    named = list(manifests)
    found = []
    for one in COMPARISON_RULES:
        values = {name: value for name, manifest in named if (value := one.value(manifest))}
        if len(set(values.values())) > 1:
            differences = "; ".join(f"{value} in {name}" for name, value in values.items())
            found.append(one.finding(f"{one.condition}: {differences}"))
    return found


def _comparison_rule(id: str, condition: str, value: Callable[[Manifest], str], *, reason: str) -> ComparisonRule:
    advice = f"the {condition} may explain a difference between the results: use the same for all of them"
    return ComparisonRule(id, "warning", reason, advice, condition, value)


def _engine_version(manifest: Manifest) -> str:
    engine, version = manifest.server.engine, manifest.server.version
    return f"{engine} {version}" if engine and version else ""


def _hardware(manifest: Manifest) -> str:
    if manifest.gpus is None:
        return ""
    cpu = manifest.machine.cpu if manifest.machine else None
    return ", ".join(gpu.name for gpu in manifest.gpus) or cpu or ""


def _quantisation(manifest: Manifest) -> str:
    return manifest.server.quantisation or ""


def _model(manifest: Manifest) -> str:
    return manifest.server.model or ""


COMPARISON_RULES = (
    _comparison_rule(
        "mixed-versions",
        "engine and version",
        _engine_version,
        reason="Between two versions of an engine anything may have changed.",
    ),
    _comparison_rule(
        "mixed-quantisation",
        "quantisation",
        _quantisation,
        reason="Weights of another quantisation have another size and speed.",
    ),
    _comparison_rule(
        "mixed-hardware", "hardware", _hardware, reason="The hardware has more influence than anything else."
    ),
    _comparison_rule("mixed-models", "model", _model, reason="Another model does another amount of work."),
)
