"""`gptoss-bench fit`: print the memory that a model needs on a GPU, and the largest load that fits."""

from dataclasses import asdict
from typing import Annotated, Any

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json
from gptoss_client import UsageError

EXAMPLE = """examples:
  gptoss-bench fit --model gpt-oss-20b --gpu A10
  gptoss-bench fit --model gpt-oss-120b --gpu "H100 NVL" --context 32768 --concurrency 8 --json
  gptoss-bench fit --model ./my-finetune --gpu 24GiB

Arithmetic, not a measurement: weights and cache are exact, the rest follows from stated assumptions. The exit code is 0
whether the model fits or not; the output and the JSON object report which."""

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
    as_json: Json = False,
) -> int:
    """Compare the memory that a model needs, by part, with the memory of a GPU."""
    from gptoss_bench.memory import describe_header_mismatch, parse_budget, read_model

    card = parse_budget(gpu)
    chosen = read_model(model)
    most = chosen.architecture.max_position_embeddings
    tokens = min(8192, most) if context is None else context
    found = answer(chosen.architecture, card.name, card.bytes, context=tokens, sequences=concurrency)
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


def answer(architecture: Any, gpu: str, budget_bytes: int, *, context: int, sequences: int) -> dict[str, Any]:
    """Return the object of `fit --json`; a quantity that depends on the dtype is {dtype: value}."""
    from gptoss_bench.memory import (
        eager_score_bytes,
        estimate_fit,
        kv_bytes,
        largest_context,
        largest_sequences,
        parameters_by_module,
    )

    dtypes = [dtype for dtype in DTYPES if dtype != "mxfp4" or _packs(architecture)]
    fits = {
        dtype: estimate_fit(architecture, dtype, gpu, budget_bytes, context=context, sequences=sequences)
        for dtype in dtypes
    }
    return {
        "model": architecture.name,
        "gpu": gpu,
        "context": context,
        "concurrency": sequences,
        "parameters": sum(parameters_by_module(architecture).values()),
        "parameters_by_module": parameters_by_module(architecture),
        "budget_bytes": budget_bytes,
        "weights_bytes": {dtype: fit.weights_bytes for dtype, fit in fits.items()},
        "kv_bytes": sequences * kv_bytes(architecture, context),
        "kv_bytes_untrimmed": sequences * kv_bytes(architecture, context, trimmed=False),
        "eager_score_bytes": eager_score_bytes(architecture, context),
        "parts_bytes": {dtype: asdict(fit.parts) for dtype, fit in fits.items()},
        "need_bytes": {dtype: fit.need_bytes for dtype, fit in fits.items()},
        "headroom_bytes": {dtype: fit.headroom_bytes for dtype, fit in fits.items()},
        "fits": {dtype: fit.fits for dtype, fit in fits.items()},
        "largest_context": {
            dtype: largest_context(architecture, dtype, budget_bytes, sequences=sequences) for dtype in dtypes
        },
        "largest_concurrency": {
            dtype: largest_sequences(architecture, dtype, budget_bytes, context=context) for dtype in dtypes
        },
    }


def _packs(architecture: Any) -> bool:
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
    lines = [
        f"{found['model']}: {found['parameters']:,} parameters by {found['source']}",
        f"{found['gpu']}: {found['budget_bytes'] / GIB:.2f} GiB{also}",
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
    if checkpoint := found.get("checkpoint"):
        result = checkpoint["disagreement"] or f"{checkpoint['parameters']:,} parameters, as the config implies"
        lines += ["", f"safetensors headers ({checkpoint['files']} files, {checkpoint['bytes']:,} bytes): {result}"]
    return lines
