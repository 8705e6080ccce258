"""Read the figures on memory: weights, what fits where, the attempt to load them, and attention sinks."""

from collections.abc import Mapping, Sequence

from gptoss_bench.memory import (
    GIB,
    Architecture,
    Attempt,
    Budget,
    Fit,
    FitResult,
    SinkBackend,
    SinkEffect,
    bytes_by_module,
    largest_context,
    parse_compute_capability,
    weights_bytes,
)

ASSUMED = "By arithmetic and the stated assumptions"


def bf16_finding(model: Architecture, budget: Budget, attempts: Mapping[str, Attempt]) -> str:
    """Return the finding of the BF16 scenario in two lines: `attempts` by dtype, "bf16" and "mxfp4"."""
    lines = []
    for dtype, tried in attempts.items():
        weights = weights_bytes(model, dtype)
        ended = (
            f"the attempt to allocate them ended at {tried.reached.label}"
            if tried.reached
            else f"the attempt allocated {'all' if tried.outcome == 'fits' else 'some'} of them"
        )
        lines.append(
            f"The weights of {model.name} in {dtype.upper()} take {weights / GIB:.2f} GiB, "
            f"{weights / budget.bytes:.2f} times the {_named(budget)}; {ended}."
        )
    return "\n".join(lines)


def _named(budget: Budget) -> str:
    """Return the GiB of a budget, and the GPU that has them."""
    size = f"{budget.bytes / GIB:.2f} GiB"
    return f"{size} of {budget.name.partition(' (')[0]}" if budget.gpu else size


def weights_by_module(architectures: Sequence[Architecture], budget: Budget) -> str:
    """Return what part of each model the experts are, packed and in BF16, and whether the weights alone fit."""
    text = []
    for model in architectures:
        sizes = {dtype: bytes_by_module(model, dtype) for dtype in ("mxfp4", "bf16")}
        totals = {dtype: sum(modules.values()) for dtype, modules in sizes.items()}
        experts = " and ".join(
            f"{modules['expert weights'] / totals[dtype]:.0%} in {dtype.upper()}" for dtype, modules in sizes.items()
        )
        compared = ", ".join(
            f"{'smaller' if total <= budget.bytes else 'larger'} in {dtype.upper()}" for dtype, total in totals.items()
        )
        text.append(
            f"Of {model.name} the expert weights are {experts}, and BF16 makes the whole "
            f"{totals['bf16'] / totals['mxfp4']:.2f} times as large. Compared with the {_named(budget)}, its "
            f"weights alone are {compared}."
        )
    return " ".join(text)


def headroom_map(fits: Sequence[FitResult], context: int, sequences: int) -> str:
    """Return on how many GPUs each model and dtype fits at one load, and which is the smallest."""
    chosen = [one.fit for one in fits if (one.fit.context, one.fit.sequences) == (context, sequences)]
    text = []
    for model, dtype in dict.fromkeys((fit.model, fit.dtype) for fit in chosen):
        of = [fit for fit in chosen if (fit.model, fit.dtype) == (model, dtype)]
        fitting = [fit for fit in of if fit.fits]
        smallest = min(fitting, key=lambda fit: fit.have_bytes, default=None)
        named = f", the smallest is {smallest.device} with {smallest.have_bytes / GIB:.1f} GiB" if smallest else ""
        text.append(f"{model} in {dtype.upper()} fits {len(fitting)} of {len(of)} GPUs{named}")
    return f"{ASSUMED}, with {sequences} × {context:,} tokens: {'; '.join(text)}."


def need_against_budget(fits: Sequence[Fit]) -> str:
    """Return what each dtype leaves or lacks on one GPU, and the largest part of its need beside the weights."""
    text = []
    for fit in fits:
        verb = "leaves" if fit.fits else "lacks"
        text.append(f"{fit.dtype.upper()} {verb} {abs(fit.headroom_bytes) / GIB:.2f} GiB of {fit.have_bytes / GIB:.2f}")
    others = {
        "the KV cache": fits[0].parts.kv_cache,
        "the activations": fits[0].parts.activations,
        "the CUDA context": fits[0].parts.cuda_context,
        "the workspace": fits[0].parts.workspace,
    }
    largest = max(others, key=lambda name: others[name])
    return (
        f"{ASSUMED}: {', '.join(text)}. Beside the weights, {largest} is the largest part of serving, with "
        f"{others[largest] / GIB:.2f} GiB."
    )


def sixteen_gb(model: Architecture, fits: Sequence[Fit]) -> str:
    """Return what is left of 16 GB at each context, and the longest context that fits."""
    listed = ", ".join(
        f"{fit.context:,} tokens {'fit' if fit.fits else 'do not fit'} ({fit.headroom_bytes / 1e9:+.2f} GB)"
        for fit in fits
    )
    most = largest_context(model, fits[0].dtype, fits[0].have_bytes)
    return f"{ASSUMED}: {listed}; at most {most:,} tokens."


def attempt_against_budget(attempt: Attempt, control: Attempt) -> str:
    """Return where the attempt ended, whether that was predicted, and how the control with packed experts ended."""
    if attempt.layers_apart is None:
        compared = "it cannot be compared with the prediction"
    else:
        compared = (
            "as predicted" if attempt.layers_apart == 0 else f"{attempt.layers_apart} layers away from the prediction"
        )
    ended = f"at {attempt.reached.label}" if attempt.reached else "with every tensor allocated"
    return (
        f"{attempt.outcome[:1].upper()}{attempt.outcome[1:]}: in {attempt.dtype.upper()} the attempt ended {ended}, "
        f"after {attempt.allocated_bytes / GIB:.2f} GiB, {compared}. The control in {control.dtype.upper()}: "
        f"{control.outcome}, after {control.allocated_bytes / GIB:.2f} GiB. The limit was a {attempt.how}."
    )


def sink_shares(effect: SinkEffect) -> str:
    """Return how much attention goes to the sinks, and what changes without them."""
    by_head = effect.share.mean(axis=2)
    layer, head = divmod(int(by_head.argmax()), by_head.shape[1])
    return (
        f"In the tiny model the sinks take {by_head.mean():.1%} of the attention on average, the most in layer "
        f"{layer + 1}, head {head + 1}: {by_head.max():.1%}. Without them the loss of the reply goes from "
        f"{effect.loss:.3f} to {effect.loss_without:.3f} nats per token, and {effect.changed:.0%} of its "
        f"{effect.tokens} tokens change. Scaled by one number per row, the weights of the first layer are the same "
        f"within {effect.scaling_error:.1g}."
    )


def sink_support_map(backends: Sequence[SinkBackend], capabilities: Mapping[str, str]) -> str:
    """Return for each GPU how many of the backends that run on it apply sinks, as the sources that were read say."""
    text = []
    for name, capability in capabilities.items():
        running = [one for one in backends if one.runs_on(parse_compute_capability(capability))]
        applied = sum(one.sinks in ("yes", "with TRTLLM", "on request") for one in running)
        text.append(f"{name} {applied} of {len(running)}")
    dropped = [one for one in backends if one.sinks == "dropped"]
    silent = "; ".join(f"{one.stack} {one.version} with {one.backend}" for one in dropped)
    return f"Backends that can apply sinks, of those that run there: {', '.join(text)}. Sinks are dropped by: {silent}."
