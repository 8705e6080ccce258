"""`python -m gptoss_bench fit`: print the memory that a model needs on a GPU, and the largest load that fits."""

import argparse
import json
from dataclasses import asdict
from typing import Any

from gptoss_client import UsageError

EXAMPLE = """examples:
  python -m gptoss_bench fit --model gpt-oss-20b --gpu A10
  python -m gptoss_bench fit --model gpt-oss-120b --gpu "H100 NVL" --context 32768 --concurrency 8 --json
  python -m gptoss_bench fit --model ./my-finetune --gpu 24GiB

Arithmetic, not a measurement: weights and cache are exact, the rest follows from stated assumptions. The exit code is 0
whether the model fits or not; the output and the JSON object report which."""

DTYPES = ("mxfp4", "fp8", "bf16", "fp32")
GIB = 2**30


def add_parser(commands: Any) -> None:
    """Add `fit` to the commands."""
    parser = commands.add_parser(
        "fit",
        help="compute what a model needs on a GPU, and the largest context and number of sequences that fit",
        description="Compare the memory that a model needs, by part, with the memory of a GPU.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    models = "gpt-oss-20b, gpt-oss-120b, a folder with config.json (its safetensors are counted too) or a hub id"
    parser.add_argument("--model", required=True, help=models)
    parser.add_argument("--gpu", required=True, help="the name of a GPU (A10, h100 nvl) or an amount (22.49GiB)")
    parser.add_argument(
        "--context", type=int, help="tokens per sequence (default: 8192, or the model's limit if lower)"
    )
    parser.add_argument("--concurrency", type=int, default=1, help="concurrent sequences (default: %(default)s)")
    parser.add_argument("--json", action="store_true", help="print one JSON object instead of the table")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Compute the fit, print it, and return the exit code."""
    from gptoss_bench.memory import describe_header_mismatch, parse_budget, read_model

    card = parse_budget(args.gpu)
    model = read_model(args.model)
    most = model.architecture.max_position_embeddings
    context = min(8192, most) if args.context is None else args.context
    found = answer(model.architecture, card.name, card.bytes, context=context, sequences=args.concurrency)
    if model.headers:
        found["checkpoint"] = {
            "files": model.headers.files,
            "tensors": model.headers.tensors,
            "parameters": model.headers.parameters,
            "bytes": model.headers.bytes,
            "bytes_by_dtype": dict(model.headers.bytes_by_dtype),
            "disagreement": describe_header_mismatch(model.headers, model.architecture),
        }
    found |= {"source": model.source, "gpus_also_meant": list(card.others)}
    print(json.dumps(found, indent=1) if args.json else "\n".join(_lines(found)))
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
