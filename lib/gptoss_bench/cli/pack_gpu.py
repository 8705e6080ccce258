"""`gptoss-bench pack-gpu`: build what a GPU machine without a network needs."""

from pathlib import Path
from typing import Annotated

import typer

EXAMPLE = """examples:
  gptoss-bench pack-gpu build/pack-gpu
  gptoss-bench pack-gpu build/pack-gpu --arch sm_86

vLLM 0.26.0, what it and the kit need beside torch, and the kit itself. The wheels are pinned by hash: pip refuses
another version or another file. Of vLLM's GPU code only that of one architecture is kept: sm_90 is an H100 or H200,
sm_86 an A10. The machine has to have Python 3.12, torch 2.11.0 for CUDA 13, triton 3.6 and transformers 5.5.3 or
newer. Carry the folder there and run `python3 FOLDER/start.py`, which says what is missing, or measures
(docs/gpu.md)."""


def pack_gpu(
    *,
    folder: Annotated[Path, typer.Argument(help="new folder for the pack")],
    arch: Annotated[str, typer.Option(help="sm_90 or sm_86")] = "sm_90",
    wheels: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="take the wheels from this folder, without a network")
    ] = None,
) -> int:
    """Build what a GPU machine without a network needs."""
    from gptoss_bench.engines import build_pack

    pack = build_pack(folder, arch, wheels=wheels)
    print(f"{folder}: vLLM {pack.vllm} for {pack.architecture}, {pack.bytes / 1e6:.1f} MB")
    print(f"machine code of {pack.kernels} containers is the same, byte for byte, as in the wheel")
    return 0
