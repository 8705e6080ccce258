"""`python -m gptoss_bench attempt`: load a model into a budget for real, and say where it ended and where it should."""

import argparse
import json
import shutil
from pathlib import Path
from typing import Any

from gptoss_bench import paths
from gptoss_client import UsageError

EXAMPLE = """examples:
  python -m gptoss_bench attempt --model gpt-oss-20b --budget A10
  python -m gptoss_bench attempt --model gpt-oss-20b --budget 22.49GiB --device cpu --figure attempt.png
  python -m gptoss_bench attempt --model ./gpt-oss-20b --budget A10 --device cuda

A name or a config.json: the tensors of the weights are allocated in their true shapes, one after the other, and on
the CPU never written to, so that nearly no memory is used. A folder with safetensors, on cuda or with --load:
transformers' own loader, pinned to the GPU, with Mxfp4Config(dequantize=True). Either way a child process does it; on
the CPU the budget is a limit on its address space, on cuda a share of the GPU's memory.

exit codes:
  0    the attempt came to its end: the weights fit, or memory ran out. The output, or the JSON object, says which
  1    it did not: the child broke or took too long; or the loader put tensors elsewhere, or unpacked what was to stay
       packed, which is neither success nor failure
  2    bad usage
  137  the child was killed by SIGKILL, which is what the kernel's out-of-memory killer sends"""

GIB = 2**30


def add_parser(commands: Any) -> None:
    """Add `attempt` to the subcommands."""
    parser = commands.add_parser(
        "attempt",
        help="load a model into too little memory, for real, in a child process",
        description="Load a model's weights into a budget and compare where it ends with where it should.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--model", required=True, help="gpt-oss-20b, gpt-oss-120b, a folder, a config.json, a hub id")
    parser.add_argument("--budget", required=True, help="an amount (22.49GiB) or a card, named loosely (A10)")
    parser.add_argument("--dtype", default="bf16", help="bf16, mxfp4, fp8 or fp32 (default: %(default)s)")
    parser.add_argument("--device", help="cpu or cuda (default: cuda where nvidia-smi is, else cpu)")
    parser.add_argument("--load", action="store_true", help="use transformers' loader on the CPU as well")
    parser.add_argument(
        "--timeout-s", type=float, default=900.0, help="kill the child after this (default: %(default)s)"
    )
    parser.add_argument("--random-weights", type=Path, metavar="FOLDER", help="first write a random checkpoint there")
    parser.add_argument("--figure", type=Path, metavar="FILE", help="draw the attempt: .png, .svg or .pdf")
    parser.add_argument("--json", action="store_true", help="one JSON object on stdout instead of the lines")
    parser.set_defaults(run=run)


def run(args: argparse.Namespace) -> int:
    """Try, tell, draw. Raises UsageError for a model, budget, device or file that is none."""
    from gptoss_bench.memory import (
        KILLED,
        attempt_load,
        parse_budget,
        read_gpus,  # --help should not pay for these
        read_model,
    )

    if args.figure and args.figure.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--figure {args.figure} has to end in .png, .svg or .pdf")
    allowed = parse_budget(args.budget, read_gpus(paths.GPUS.read_text(encoding="utf-8")))
    model = read_model(args.model)
    device = args.device or ("cuda" if shutil.which("nvidia-smi") else "cpu")
    folder = model.folder if model.headers else None
    if args.random_weights:
        folder = _random_weights(model.architecture, args.random_weights)
    if args.load and not folder:
        raise UsageError("--load needs a folder with safetensors; give one, or name --random-weights FOLDER")
    if folder and (args.load or device == "cuda"):
        from gptoss_bench.memory import attempt_loading, loading_order

        steps = loading_order(model.architecture)
        done = attempt_loading(
            folder, model.architecture, allowed.bytes, args.dtype, device=device, timeout_s=args.timeout_s
        )
    else:
        steps = model.architecture.allocations(args.dtype)
        done = attempt_load(model.architecture, allowed.bytes, args.dtype, device=device, timeout_s=args.timeout_s)
    found = done.summary() | {"budget": allowed.name}
    print(json.dumps(found, indent=1) if args.json else "\n".join(_lines(found)))
    if args.figure:
        _draw(done, steps, args.figure)
    if done.outcome == "killed":
        return KILLED if done.exit_code == KILLED else 1
    return 0 if done.outcome in ("fits", "out of memory") else 1


def _random_weights(architecture: Any, folder: Path) -> Path:
    from gptoss_bench.memory import write_checkpoint

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"{folder} is not empty; name a new folder for the random checkpoint")
    write_checkpoint(architecture, folder, architecture.quantisation or "bf16")
    return folder


def _lines(found: dict[str, Any]) -> list[str]:
    budget = f"{found['budget_bytes'] / GIB:.2f} GiB"
    named = "" if found["budget"].endswith("B") else f" ({found['budget']})"
    apart = {None: "cannot be compared", 0: "the same"}.get(
        found["layers_apart"], f"{found['layers_apart']} layers apart"
    )
    rows = {
        "attempt": f"{found['architecture']} in {found['dtype'].upper()} into {budget}{named}, by {found['how']}",
        "outcome": found["outcome"],
        "predicted end": found["predicted"] or "none: it fits",
        "real end": found["reached"] or "none",
        "prediction": apart,
        "allocated": f"{found['allocated_bytes']:,} bytes, {found['allocated_bytes'] / GIB:.2f} GiB",
        "its own words": found["error"] or "none",
        "child": f"exit code {found['exit_code']} after {found['seconds']:.1f} s",
    }
    rows |= {name.replace("_", " "): f"{value:,}" for name, value in found["usage_bytes"].items()}
    return [f"{name:<28}{value}" for name, value in rows.items()]


def _draw(done: Any, steps: Any, path: Path) -> None:
    from gptoss_bench.figures import attempt_against_budget
    from gptoss_bench.runs import installed_gpus, machine_facts

    manifest = {"machine": machine_facts(), "gpus": installed_gpus()}
    try:
        attempt_against_budget(done, steps, manifest).savefig(path, dpi=150)
    except OSError as error:
        raise UsageError(f"cannot write {path}: {error.strerror or error}; name another --figure") from error
