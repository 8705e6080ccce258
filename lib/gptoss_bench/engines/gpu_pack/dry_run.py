"""Try a pack without a GPU: its machine code, its operators, and vLLM's own server with a stand-in for the GPU.

It runs in the environment of the pack, with the Python that the pack is for:

    python3.12 PACK/start.py python3.12 -m gptoss_bench.engines.gpu_pack.dry_run [--wheels FOLDER --cuobjdump PROGRAM]

The wheel of vLLM and NVIDIA's cuobjdump (PyPI: nvidia-cuda-cuobjdump) are needed for the first part only. Where the
machine has no libcuda.so.1, a library of empty functions is compiled in its place; no function of CUDA is called.
"""

import argparse
import asyncio
import hashlib
import importlib
import json
import os
import re
import subprocess
import sys
import tempfile
import zipfile
from collections import Counter
from pathlib import Path

from gptoss_bench.engines.gpu_pack.build import ARCHITECTURES
from gptoss_bench.engines.gpu_pack.fatbin import ELF, MAGIC, Container, read_containers, used_entries
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_client import LoadPlan, Trace, UsageError, assemble_reply, decode_body, run_load

HERE = "gptoss_bench.engines.gpu_pack"
# Library, family of operators, one of them.
OPERATORS = (
    ("_C_stable_libtorch", "_C", "rms_norm"),
    ("_C_stable_libtorch", "_C_cache_ops", "reshape_and_cache_flash"),
    ("_moe_C_stable_libtorch", "_moe_C", "topk_softmax"),
)
FLASH_ATTENTION = {
    90: ("vllm_flash_attn._vllm_fa3_C", "_vllm_fa3_C", "fwd"),
    86: ("vllm_flash_attn._vllm_fa2_C", "_vllm_fa2_C", "varlen_fwd"),
}
# What vLLM's worker for one GPU imports for gpt-oss; the stand-in for its executor imports none of it.
MODULES = (
    "vllm.v1.worker.gpu_worker",
    "vllm.v1.worker.gpu_model_runner",
    "vllm.model_executor.models.gpt_oss",
    "vllm.model_executor.layers.quantization.mxfp4",
)
CONTEXT = 4096
PLAN = LoadPlan(concurrency=4, requests=8, max_tokens=64, timeout_s=600.0)


def compare_code(site: Path, wheel: Path, cuobjdump: str, architecture: int) -> int:
    """Compare what cuobjdump extracts of each container in the pack and in the wheel; return the number of the same.

    Raises UsageError where they differ.
    """
    same = 0
    with zipfile.ZipFile(wheel) as content:
        for file in sorted(site.glob("vllm/**/*.so")):
            name = file.relative_to(site).as_posix()
            packed, original = file.read_bytes(), content.read(name)
            kept = {one.size_at: one for one in read_containers(packed)}
            for container in read_containers(original):
                used = {one.architecture for one in used_entries(container, architecture, ()) if one.kind == ELF}
                if not used:
                    continue
                before = extracted(original, container, cuobjdump, max(used))
                after = extracted(packed, kept[container.size_at], cuobjdump, max(used))
                if before != after or not before:
                    raise UsageError(f"{name}: the code of container {container.number} is not that of the wheel")
                same += 1
    return same


def extracted(data: bytes, container: Container, cuobjdump: str, architecture: int) -> Counter[str]:
    """Return the hashes of the machine code for an architecture that cuobjdump extracts of a container."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder, "container.fatbin")
        file.write_bytes(data[data.rindex(MAGIC, 0, container.entries_start) : container.end])
        done = subprocess.run(
            [cuobjdump, "-xelf", "all", file.name], cwd=folder, capture_output=True, text=True, check=False
        )
        if done.returncode:
            raise UsageError(f"cuobjdump: {done.stderr.strip()}")
        of_it = re.compile(rf"sm_{architecture}[a-z]?\.cubin$")
        cubins = [each for each in Path(folder).glob("*.cubin") if of_it.search(each.name)]
        return Counter(hashlib.sha256(each.read_bytes()).hexdigest() for each in cubins)


def make_driver(folder: Path, site: Path) -> None:
    """Compile a libcuda.so.1 with every function of it that the libraries of the pack name. Raises UsageError."""
    named = subprocess.run(
        ["nm", "-D", "--undefined-only", *map(str, site.glob("vllm/**/*.so"))],
        capture_output=True,
        text=True,
        check=False,
    ).stdout
    functions = sorted(set(re.findall(r" U (cu[A-Z]\w+)", named)))
    source = "\n".join(f"int {name}(void) {{ return 100; }}" for name in functions)  # 100: there is no device
    command = ["cc", "-shared", "-fPIC", "-Wl,-soname,libcuda.so.1", "-o", str(folder / "libcuda.so.1"), "-xc", "-"]
    done = subprocess.run(command, input=source, capture_output=True, text=True, check=False)
    if done.returncode:
        raise UsageError(f"the stand-in for libcuda.so.1 was not compiled: {done.stderr.strip()}")


def registered(architecture: int) -> str:
    """Import the compiled libraries of vLLM and what a worker imports; return in words the number of operators.

    Raises UsageError if an operator is missing.
    """
    import torch

    needed = (*OPERATORS, FLASH_ATTENTION[architecture])
    for module in (*(f"vllm.{library}" for library, _, _ in needed), *MODULES):
        importlib.import_module(module)
    names = [name.partition(".")[0] for name in torch._C._dispatch_get_all_op_names()]
    for _, family, name in needed:
        if f"{family}::{name}" not in names:
            raise UsageError(f"the operator {family}::{name} is not registered")
    counts = Counter(family for family, _, _ in (name.partition("::") for name in names))
    return ", ".join(f"{counts[family]} of {family}" for family in dict.fromkeys(one[1] for one in needed))


def attention_backend() -> str:
    """Return the attention backend that vLLM chooses for gpt-oss, which has sinks and a sliding window."""
    import torch
    from vllm.config import VllmConfig, set_current_vllm_config
    from vllm.platforms import current_platform
    from vllm.v1.attention.selector import AttentionSelectorConfig

    wanted = AttentionSelectorConfig(64, torch.bfloat16, "auto", None, has_sink=True, has_sliding_window=True)
    with set_current_vllm_config(VllmConfig()):
        return str(current_platform.get_attn_backend_cls(None, wanted, 64)).rpartition(".")[2]


def use_stand_ins(folder: Path, architecture: int) -> None:
    """Let the programs that this one starts load the driver of a folder, and vLLM find the stand-in for the GPU."""
    os.environ["GPTOSS_CAPABILITY"] = str(architecture)
    plugin = folder / "gptoss_stand_in-0.dist-info"
    plugin.mkdir()
    (plugin / "METADATA").write_text("Metadata-Version: 2.1\nName: gptoss-stand-in\nVersion: 0\n")
    (plugin / "entry_points.txt").write_text(f"[vllm.platform_plugins]\nstand_in = {HERE}.dry_run:platform\n")
    for name in ("PYTHONPATH", "LD_LIBRARY_PATH"):
        os.environ[name] = ":".join(filter(None, (os.environ.get(name), str(folder))))


def platform() -> str:
    """Return the name of the stand-in for the GPU: the entry point of a platform plugin of vLLM."""
    return f"{HERE}.stand_in_gpu.StandInPlatform"


async def serve(model: Path) -> str:
    """Start vLLM as a measurement does, but with the stand-in, send a small load, and return in words what came.

    Raises UsageError if vLLM does not start, or if a request was not streamed to its limit.
    """
    flags = f"--distributed-executor-backend {HERE}.stand_in_executor.StandInExecutor"
    traces: list[Trace] = []
    choice = ServerChoice(engine="vllm", model=str(model), context=CONTEXT, engine_flags=flags)
    async with open_engine(choice, log_dir=Path.cwd()) as endpoint:
        await run_load(PLAN, endpoint, traces.append)
    for trace in traces:
        reply = assemble_reply(decode_body(piece for _, piece in trace.pieces))
        got = reply.completion_tokens, reply.finish_reason, reply.answer_text.split()
        # The three tokens that open the answer have no text.
        if got != (PLAN.max_tokens, "length", ["word"] * (PLAN.max_tokens - 3)):
            raise UsageError(f"request {trace.request_id}: {trace.error or reply.error or got}")
    kept = ("attention_backend", "moe_backend", "kv_cache_tokens")
    facts = "; ".join(f"{name} {endpoint.facts[name]}" for name in kept if name in endpoint.facts)
    return (
        f"server: vLLM {endpoint.version} answered after {endpoint.ready_s} s ({facts}); "
        f"{len(traces)} requests streamed {PLAN.max_tokens} of {PLAN.max_tokens} tokens each"
    )


def main(arguments: list[str]) -> int:
    """Try the parts, print a line for each, and return the exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--wheels", type=Path, help="folder with the wheel of vLLM, for the comparison of machine code")
    parser.add_argument("--cuobjdump", default="cuobjdump", help="NVIDIA's program")
    options = parser.parse_args(arguments)
    site = Path(os.environ.get("GPTOSS_SITE", "/tmp/gptoss-site"))
    architecture = ARCHITECTURES[json.loads((site / "pack.json").read_text())["architecture"]]
    try:
        if options.wheels:
            [wheel] = options.wheels.glob("vllm-*.whl")
            same = compare_code(site, wheel, options.cuobjdump, architecture)
            print(f"machine code: {same} containers are the same as in the wheel, by cuobjdump", flush=True)
        with tempfile.TemporaryDirectory() as work:
            make_driver(Path(work), site)
            use_stand_ins(Path(work), architecture)
            show = f"print('operators:', d.registered({architecture})); print('attention:', d.attention_backend())"
            subprocess.run([sys.executable, "-c", f"from {HERE} import dry_run as d; {show}"], check=True)
            model = Path(work, "gpt-oss-20b-random-weights")
            make = ["random-checkpoint", "gpt-oss-20b", str(model), "--layers", "2"]
            subprocess.run([sys.executable, "-m", "gptoss_bench", *make], check=True)
            print(asyncio.run(serve(model)), flush=True)
    except (UsageError, subprocess.CalledProcessError) as error:
        print(f"dry_run: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
