"""Unpack a pack on a GPU machine without a network and run a command in it; the standard library is enough.

    python3 start.py                         # measure: vLLM with random weights, then the published load
    python3 start.py python3 -m gptoss_bench COMMAND …

What is unpacked lies in $GPTOSS_SITE (default: /tmp/gptoss-site), results in the current folder.
"""

import hashlib
import importlib.metadata
import importlib.util
import json
import os
import re
import sys
import tarfile
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

HERE = Path(__file__).resolve().parent
MEASURE = [sys.executable, "-m", "gptoss_bench.engines.gpu_pack.measure"]
VARIABLES = {
    "VLLM_USE_FLASHINFER_SAMPLER": "0",  # flashinfer is not carried
    "VLLM_USE_DEEP_GEMM": "0",  # nor is DeepGEMM, which is for FP8
    "TVM_FFI_DISABLE_TORCH_C_DLPACK": "1",  # else xgrammar compiles a helper when it is imported
    "VLLM_NO_USAGE_STATS": "1",
    "DO_NOT_TRACK": "1",
    "HF_HUB_OFFLINE": "1",
    "TRANSFORMERS_OFFLINE": "1",
}


def main(command: list[str]) -> int:
    """Check the machine, unpack what is not unpacked yet, and replace this process by the command."""
    pack = json.loads((HERE / "pack.json").read_text())
    if problems := missing(pack):
        print(*(f"start.py: {line}" for line in problems), sep="\n", file=sys.stderr)
        return 2
    site = Path(os.environ.get("GPTOSS_SITE", "/tmp/gptoss-site"))
    marker = site / "pack.json"
    if not marker.is_file() or marker.read_text() != json.dumps(pack):
        try:
            unpack(pack, site)
        except (OSError, ValueError, tarfile.TarError) as error:
            print(f"start.py: the pack cannot be unpacked to {site}: {error}", file=sys.stderr)
            return 1
        marker.write_text(json.dumps(pack))
    os.environ.update(environment(site))
    command = command or MEASURE
    os.execvp(command[0], command)


def missing(pack: dict[str, Any]) -> list[str]:
    """Return a line for each thing that the pack needs and this machine does not have."""
    lines, absent = [], []
    python = ".".join(map(str, sys.version_info[:2]))
    if python != pack["python"]:
        lines.append(f"this is Python {python}, the pack is for {pack['python']}: start it with python{pack['python']}")
    for name, wanted in pack["needs"].items():
        needed = f"vLLM {pack['vllm']} needs {name} {wanted}"
        try:
            found = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            if wanted:
                lines.append(f"{name} is not installed: {needed}")
            else:
                absent.append(name)
            continue
        enough = found.partition("+")[0] == wanted if name == "torch" else release(found) >= release(wanted)
        if not enough:
            lines.append(f"{name} {found} is installed: {needed}")
    if absent:
        lines.append(f"{', '.join(absent)} {'is' if len(absent) == 1 else 'are'} not installed: any version will do")
    return lines


def release(version: str) -> list[int]:
    """Return the numbers of a version."""
    return [int(number) for number in re.findall(r"\d+", version.partition("+")[0])]


def unpack(pack: dict[str, Any], site: Path) -> None:
    """Unpack the archives at the same time, each after its hash was compared; make the program `vllm`."""
    began = time.monotonic()
    for name, wanted in pack["parts"].items():
        with (HERE / "parts" / f"{name}.tar.xz").open("rb") as file:
            if hashlib.file_digest(file, "sha256").hexdigest() != wanted:
                raise ValueError(f"{name}.tar.xz is not the file that was built: bring it again")
    site.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor() as pool:
        list(pool.map(lambda name: unpack_part(name, site), pack["parts"]))
    program = site / "bin" / "vllm"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f'#!/bin/sh\nexec {sys.executable} -m vllm.entrypoints.cli.main "$@"\n')
    program.chmod(0o755)
    print(f"unpacked to {site} in {time.monotonic() - began:.0f} s", flush=True)


def unpack_part(name: str, site: Path) -> None:
    """Unpack one archive."""
    with tarfile.open(HERE / "parts" / f"{name}.tar.xz", "r|xz") as archive:
        archive.extractall(site, filter="data")


def environment(site: Path) -> dict[str, str]:
    """Return the variables under which vLLM and the kit of the pack are found."""
    spec = importlib.util.find_spec("nvidia")
    roots = list(spec.submodule_search_locations or []) if spec else []
    libraries = sorted({str(folder) for root in roots for folder in Path(root).glob("*/lib")})
    joined = {
        "PYTHONPATH": [str(site), str(site / "kit" / "lib")],
        "PATH": [str(site / "bin")],
        "LD_LIBRARY_PATH": libraries,
    }
    former = {name: [os.environ[name]] if os.environ.get(name) else [] for name in joined}
    return VARIABLES | {name: ":".join(first + former[name]) for name, first in joined.items()}


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
