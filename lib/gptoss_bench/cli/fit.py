"""`gptoss-bench fit`: print the memory that a model needs on a GPU, and the largest load that fits."""

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json
from gptoss_client import UsageError

if TYPE_CHECKING:
    from gptoss_bench.memory import Architecture, Budget, EngineShare, Fit

EXAMPLE = """examples:
  gptoss-bench fit --model gpt-oss-20b --gpu A10
  gptoss-bench fit --model gpt-oss-120b --gpu "H100 NVL" --context 32768 --concurrency 8 --json
  gptoss-bench fit --model gpt-oss-120b --gpu "H100 SXM" --engine vllm --share 0.95
  gptoss-bench fit --model ./my-finetune --gpu 24GiB

Arithmetic, not a measurement: weights and cache are exact, the rest follows from stated assumptions. Without --engine
the whole card is counted, and a line names each data type that fits it but not the share that vLLM uses by default.
A checkpoint that is neither MXFP4 nor unquantised has a column of its own. The exit code is 0 whether the model fits or
not; the output and the JSON object report which."""

DTYPES = ("mxfp4", "fp8", "bf16", "fp32")


def fit(
    *,
    model: Annotated[
        str,
        typer.Option(
            help="gpt-oss-20b, gpt-oss-120b, a folder with config.json (its safetensors are counted too) or a hub id"
        ),
    ],
    gpu: Annotated[str, typer.Option(help="the name of a GPU (A10, h100 nvl) or an amount (22.49GiB)")],
    context: Annotated[
        int | None, typer.Option(help="tokens per sequence (default: 8192, or the model's limit if lower)")
    ] = None,
    concurrency: Annotated[int, typer.Option(help="concurrent sequences")] = 1,
    engine: Annotated[
        str | None, typer.Option(help="count what this engine needs, in the share of the GPU that it uses: vllm")
    ] = None,
    share: Annotated[
        float | None, typer.Option(help="share of the GPU for --engine, such as 0.95 (default: the engine's own)")
    ] = None,
    as_json: Json = False,
) -> int:
    """Compare the memory that a model needs, by part, with the memory of a GPU."""
    from gptoss_bench.memory import ENGINES_WITH_SHARE, describe_header_mismatch, engine_share, parse_budget, read_model

    if share is not None and engine is None:
        raise UsageError(f"--share is of an engine: add --engine {ENGINES_WITH_SHARE[0]}")
    card = parse_budget(gpu)
    chosen = read_model(model)
    most = chosen.architecture.max_position_embeddings
    tokens = min(8192, most) if context is None else context
    used = engine_share(engine, card, share) if engine else None
    found = answer(chosen.architecture, card, context=tokens, sequences=concurrency, engine=used)
    if chosen.headers:
        found["checkpoint"] = {
            "files": chosen.headers.files,
            "tensors": chosen.headers.tensors,
            "parameters": chosen.headers.parameters,
            "bytes": chosen.headers.bytes,
            "bytes_by_dtype": dict(chosen.headers.bytes_by_dtype),
            "disagreement": describe_header_mismatch(chosen.headers, chosen.architecture),
        }
    found |= {"source": chosen.source, "gpus_also_meant": list(card.others)}
    if as_json:
        print_json(found)
    else:
        print("\n".join(_lines(found)))
    return 0


def answer(
    architecture: "Architecture", card: "Budget", *, context: int, sequences: int, engine: "EngineShare | None" = None
) -> dict[str, Any]:
    """Return the object of `fit --json`; a quantity that depends on the dtype is {dtype: value}."""
    from gptoss_bench.memory import (
        CHECKPOINT,
        ENGINES_WITH_SHARE,
        eager_score_bytes,
        engine_share,
        estimate_fit,
        kv_bytes,
        largest_context,
        largest_sequences,
        parameters_by_module,
    )

    dtypes = [CHECKPOINT] if architecture.packing else []
    dtypes += [dtype for dtype in DTYPES if dtype != "mxfp4" or _packs(architecture)]
    budget_bytes = engine.budget_bytes(card) if engine else card.bytes

    def fits_in(have_bytes: int, share: "EngineShare | None") -> "dict[str, Fit]":
        load = {"context": context, "sequences": sequences}
        return {
            dtype: estimate_fit(architecture, dtype, card.name, have_bytes, **load, engine=share) for dtype in dtypes
        }

    fits = fits_in(budget_bytes, engine)
    others = {} if engine else {name: engine_share(name, card) for name in ENGINES_WITH_SHARE}
    in_engines = {name: fits_in(share.budget_bytes(card), share) for name, share in others.items()}
    return {
        "model": architecture.name,
        "gpu": card.name,
        "context": context,
        "concurrency": sequences,
        "engine": engine and asdict(engine),
        "quantisation": architecture.quantisation,
        "parameters": sum(parameters_by_module(architecture).values()),
        "parameters_by_module": parameters_by_module(architecture),
        "gpu_bytes": card.bytes,
        "cuda_bytes": card.cuda_bytes,
        "budget_bytes": budget_bytes,
        "weights_bytes": {dtype: fit.weights_bytes for dtype, fit in fits.items()},
        "kv_bytes": sequences * kv_bytes(architecture, context),
        "kv_bytes_untrimmed": sequences * kv_bytes(architecture, context, trimmed=False),
        "eager_score_bytes": eager_score_bytes(architecture, context),
        "parts_bytes": {dtype: asdict(fit.parts) for dtype, fit in fits.items()},
        "need_bytes": {dtype: fit.need_bytes for dtype, fit in fits.items()},
        "headroom_bytes": {dtype: fit.headroom_bytes for dtype, fit in fits.items()},
        "fits": {dtype: fit.fits for dtype, fit in fits.items()},
        "fits_cuda": {dtype: fit.need_bytes <= min(card.cuda_bytes, budget_bytes) for dtype, fit in fits.items()},
        "engine_headroom_bytes": {
            name: {dtype: fit.headroom_bytes for dtype, fit in each.items()} for name, each in in_engines.items()
        },
        "engine_budget_bytes": {name: share.budget_bytes(card) for name, share in others.items()},
        "largest_context": {
            dtype: largest_context(architecture, dtype, budget_bytes, sequences=sequences, engine=engine)
            for dtype in dtypes
        },
        "largest_concurrency": {
            dtype: largest_sequences(architecture, dtype, budget_bytes, context=context, engine=engine)
            for dtype in dtypes
        },
    }


def _packs(architecture: "Architecture") -> bool:
    """Tell whether the shapes of a model can be packed as MXFP4; if not, the other dtypes are still computed."""
    try:
        architecture.allocations("mxfp4")
    except UsageError:
        return False
    return True


def _lines(found: dict[str, Any]) -> list[str]:
    from gptoss_bench.memory import GIB

    dtypes = list(found["weights_bytes"])
    parts = found["parts_bytes"]

    def row(name: str, cells: dict[str, Any]) -> str:
        return f"{name:<28}" + "".join(f"{cells[dtype]:>12}" for dtype in dtypes)

    def gib(name: str, sizes: dict[str, int]) -> str:
        return row(name, {dtype: f"{size / GIB:.2f}" for dtype, size in sizes.items()})

    also = f"; the name also matches {', '.join(found['gpus_also_meant'])}" if found["gpus_also_meant"] else ""
    sequences = f"{found['concurrency']} sequence{'s' * (found['concurrency'] > 1)} of {found['context']:,} tokens"
    seen = (
        f"; CUDA programs see {found['cuda_bytes'] / GIB:.2f} GiB" if found["cuda_bytes"] != found["gpu_bytes"] else ""
    )
    lines = [
        f"{found['model']}: {found['parameters']:,} parameters by {found['source']}",
        f"{found['gpu']}: {found['gpu_bytes'] / GIB:.2f} GiB{seen}{also}",
    ]
    if engine := found["engine"]:
        lines.append(
            f"{engine['engine']} uses {engine['share']:g} of that: {found['budget_bytes'] / GIB:.2f} GiB; it measures "
            f"its peak with {engine['step_tokens']:,} tokens and {engine['step_sequences']:,} sequences"
        )
    if "checkpoint" in dtypes:
        basis = "bytes of its safetensors headers" if "checkpoint" in found else "counted from its config"
        lines.append(f"CHECKPOINT: {found['quantisation']}, {basis}")
    lines += [
        f"{sequences}; arithmetic, not measured",
        "",
        row("GiB", {dtype: dtype.upper() for dtype in dtypes}),
    ]
    lines += [gib(part.replace("_", " "), {dtype: parts[dtype][part] for dtype in dtypes}) for part in parts[dtypes[0]]]
    lines += [
        gib("need, loading or serving", found["need_bytes"]),
        gib("headroom", found["headroom_bytes"]),
        row("fits", {dtype: "yes" if fits else "no" for dtype, fits in found["fits"].items()}),
        row("largest context, tokens", {dtype: f"{most:,}" for dtype, most in found["largest_context"].items()}),
        row("largest number of sequences", {dtype: f"{n:,}" for dtype, n in found["largest_concurrency"].items()}),
    ]
    lines += _lost(found)
    if checkpoint := found.get("checkpoint"):
        result = checkpoint["disagreement"] or f"{checkpoint['parameters']:,} parameters, as the config implies"
        lines += ["", f"safetensors headers ({checkpoint['files']} files, {checkpoint['bytes']:,} bytes): {result}"]
    return lines


def _lost(found: dict[str, Any]) -> list[str]:
    """Return a line for each limit below the whole card that turns a yes into a no."""
    from gptoss_bench.memory import GIB

    fitting = [dtype for dtype, fits in found["fits"].items() if fits]
    lost = [dtype.upper() for dtype in fitting if not found["fits_cuda"][dtype]]
    lines = [f"{', '.join(lost)} does not fit what CUDA programs see of the card"] if lost else []
    for engine, headroom in found["engine_headroom_bytes"].items():
        missing = [
            f"{dtype.upper()} lacks {-headroom[dtype] / GIB:.2f} GiB" for dtype in fitting if headroom[dtype] < 0
        ]
        if missing:
            share = f"{found['engine_budget_bytes'][engine] / GIB:.2f} GiB"
            lines.append(f"{engine} at its defaults uses {share} of it: {', '.join(missing)} (see --engine {engine})")
    return ["", *lines] if lines else []
