"""`gptoss-bench attempt`: load a model into a memory budget and print where it ends beside the prediction."""

import shutil
from pathlib import Path
from typing import Annotated, Any

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import print_json
from gptoss_bench.files import writing
from gptoss_client import UsageError

EXAMPLE = """examples:
  gptoss-bench attempt --model gpt-oss-20b --budget A10
  gptoss-bench attempt --model gpt-oss-20b --budget 22.49GiB --device cpu --figure attempt.png
  gptoss-bench attempt --model ./gpt-oss-20b --budget A10 --device cuda
  gptoss-bench attempt --model ./gpt-oss-20b --budget A10 --device cuda --as-called
  gptoss-bench attempt --model ./gpt-oss-20b --budget "H100 SXM" --device cuda --decode 64

For a name or a config.json, the tensors of the weights are allocated in their true shapes, one after the other. On the
CPU they are never written to, so that almost no memory is used. For a folder with safetensors, on cuda or with --load,
transformers' own loader runs, pinned to the GPU, with Mxfp4Config(dequantize=True). A child process does either; the
budget is a limit of its address space on the CPU, and a share of the GPU's memory on cuda. On cuda the loader's own
reservation of the whole model is switched off, and the load ends at the first tensor that does not fit; --as-called
changes nothing in the loader.

exit codes:
  0    the attempt was completed: the weights fit, or memory ran out; the output and the JSON object report which
  1    it was not: the child failed or timed out, or the loader put tensors on another device, or it unpacked weights
       that should stay packed
  2    bad usage
  137  the child was killed by SIGKILL, which the kernel's out-of-memory killer sends"""


def attempt(
    *,
    model: Annotated[str, typer.Option(help="gpt-oss-20b, gpt-oss-120b, a folder, a config.json or a hub id")],
    budget: Annotated[str, typer.Option(help="an amount (22.49GiB) or the name of a GPU (A10)")],
    dtype: Annotated[str, typer.Option(help="bf16, mxfp4, fp8 or fp32")] = "bf16",
    device: Annotated[
        str | None, typer.Option(help="cpu or cuda (default: cuda if nvidia-smi is on PATH, else cpu)")
    ] = None,
    load: Annotated[bool, typer.Option("--load", help="use transformers' loader on the CPU too")] = False,
    as_called: Annotated[
        bool, typer.Option("--as-called", help="change nothing in transformers' loader: what a user meets")
    ] = False,
    decode: Annotated[
        int, typer.Option(metavar="TOKENS", help="where the load fits, decode so many and time them")
    ] = 0,
    timeout_s: Annotated[float, typer.Option(help="kill the child after this many seconds")] = 900.0,
    random_weights: Annotated[
        Path | None,
        typer.Option(metavar="FOLDER", help="write a checkpoint with random weights there first, and load it"),
    ] = None,
    figure: Annotated[
        Path | None, typer.Option(metavar="FILE", help="draw the attempt into this .png, .svg or .pdf")
    ] = None,
    as_json: Json = False,
) -> int:
    """Load a model's weights into a memory budget and compare the layer reached with the prediction."""
    from gptoss_bench.memory import SIGKILL_EXIT_CODE, attempt_allocation, parse_budget, read_model
    from gptoss_bench.session import showing_progress

    if figure and figure.suffix not in (".png", ".svg", ".pdf"):
        raise UsageError(f"--figure {figure}: the name must end in .png, .svg or .pdf")
    allowed = parse_budget(budget)
    found_model = read_model(model)
    device = device or ("cuda" if shutil.which("nvidia-smi") else "cpu")
    architecture = found_model.architecture
    folder = found_model.folder if found_model.headers else None
    if random_weights:
        folder = _random_weights(architecture, random_weights)
    if load and not folder:
        raise UsageError("--load needs a folder with safetensors: give one as --model, or add --random-weights FOLDER")
    if folder and (load or device == "cuda"):
        from gptoss_bench.memory import attempt_checkpoint_load, loading_order

        steps = loading_order(architecture)
        with showing_progress(f"loading the checkpoint as {dtype.upper()}"):
            done = attempt_checkpoint_load(
                folder,
                architecture,
                allowed.bytes,
                dtype,
                device=device,
                timeout_s=timeout_s,
                as_called=as_called,
                decode_tokens=decode,
            )
    elif as_called or decode:
        raise UsageError("--as-called and --decode are of transformers' loader: add --load, with a checkpoint")
    else:
        steps = architecture.allocations(dtype)
        with showing_progress(f"allocating the weights as {dtype.upper()} until the budget is full"):
            done = attempt_allocation(architecture, allowed.bytes, dtype, device=device, timeout_s=timeout_s)
    found = done.summary().document() | {"budget": allowed.name}
    if as_json:
        print_json(found)
    else:
        print("\n".join(_lines(found)))
    if figure:
        _draw(done, steps, figure)
    if done.outcome == "killed":
        return SIGKILL_EXIT_CODE if done.exit_code == SIGKILL_EXIT_CODE else 1
    return 0 if done.outcome in ("fits", "out of memory") else 1


def _random_weights(architecture: Any, folder: Path) -> Path:
    from gptoss_bench.memory import write_random_checkpoint

    if folder.exists() and any(folder.iterdir()):
        raise UsageError(f"--random-weights {folder} is not empty: name a new folder")
    write_random_checkpoint(architecture, folder, architecture.quantisation or "bf16")
    return folder


def _lines(found: dict[str, Any]) -> list[str]:
    from gptoss_bench.memory import GIB

    budget = f"{found['budget_bytes'] / GIB:.2f} GiB"
    named = "" if found["budget"].endswith("B") else f" ({found['budget']})"
    distance = {None: "cannot be compared", 0: "the same"}.get(
        found["layers_apart"], f"{found['layers_apart']} layers apart"
    )
    rows = {
        "attempt": f"{found['architecture']} in {found['dtype'].upper()} into {budget}{named}, by {found['how']}",
        "outcome": found["outcome"],
        "predicted end": found["predicted"] or "none: it fits",
        "real end": found["reached"] or "none",
        "prediction": distance,
        "allocated": f"{found['allocated_bytes']:,} bytes, {found['allocated_bytes'] / GIB:.2f} GiB",
        "error": found["error"] or "none",
        "child": f"exit code {found['exit_code']} after {found['seconds']:.1f} s",
    }
    if found["decode_s"]:
        rows["decoded"] = f"{found['decode_tokens']} tokens in {found['decode_s']:.2f} s"
    rows |= {name.replace("_", " "): f"{value:,}" for name, value in found["usage_bytes"].items()}
    return [f"{name:<28}{value}" for name, value in rows.items()]


def _draw(done: Any, steps: Any, path: Path) -> None:
    from gptoss_bench.figures import attempt_against_budget
    from gptoss_bench.runs import Manifest, installed_gpus, machine_facts

    manifest = Manifest(machine=machine_facts(), gpus=installed_gpus())
    with writing(path, "choose another --figure"):
        attempt_against_budget(done, steps, manifest).savefig(path, dpi=150)
