"""Build the pack: download the pinned wheels, keep the GPU code of one architecture, write archives and `start.py`."""

import hashlib
import json
import lzma
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
import zipfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from fnmatch import fnmatch
from pathlib import Path

from gptoss_bench.engines.gpu_pack.fatbin import keep_architecture, same_code
from gptoss_bench.files import writing
from gptoss_bench.paths import PACKAGE
from gptoss_bench.runs import package_version
from gptoss_client import UsageError, one_line

REQUIREMENTS = Path(__file__).with_name("requirements.txt")
START = Path(__file__).with_name("start.py")
ARCHITECTURES = {"sm_90": 90, "sm_86": 86}
PYTHON = "3.12"
# What the machine has to have: vLLM 0.26.0 is built for this torch, and for CUDA 13. Of the others any version will do;
# vLLM and the kit import them, and the pack does not bring them.
NEEDS = {"torch": "2.11.0", "triton": "3.6.0", "transformers": "5.5.3"} | dict.fromkeys(
    [
        "aiohttp",
        "cloudpickle",
        "einops",
        "lazy-loader",
        "nvidia-ml-py",
        "pandas",
        "pillow",
        "prometheus-client",
        "protobuf",
        "psutil",
        "py-cpuinfo",
        "pyarrow",
        "requests",
        "sentencepiece",
        "tiktoken",
        "uvloop",
    ],
    "",
)
PLATFORMS = [f"manylinux_2_{minor}_x86_64" for minor in (39, 35, 34, 31, 28, 27, 26, 24, 17, 12, 5)]
PLATFORMS += [f"{name}_x86_64" for name in ("manylinux2014", "manylinux2010", "manylinux1")]
# Files of the wheels that are not needed on this path, or whose import is guarded.
LEFT_OUT = (
    "vllm/vllm-rs",
    "vllm/_rust_tool_parser*",
    "vllm/_qutlass*",
    "vllm/third_party/deep_gemm/*",
    "vllm/third_party/fmha_sm100/cutlass/*",
    "vllm/third_party/flashmla/include/*",
    "vllm/entrypoints/serve/instrumentator/static/*",
    "*/cutlass/include/*",
    "mistral_common/data/*",
    "pycountry/locales/*",
    "xgrammar/lib/*",
    "xgrammar/include/*",
    "tvm_ffi/3rdparty/*",
    "tvm_ffi/include/*",
    "*/tests/*",
    "*.pyi",
    "*.a",
    "*.data/*",
)
# What only the other architecture needs: vLLM imports one of both FlashAttentions, and the third has sm_90 code alone.
LEFT_OUT_OF = {
    90: ("vllm/vllm_flash_attn/_vllm_fa2_C*",),
    86: ("vllm/vllm_flash_attn/_vllm_fa3_C*", "vllm/_flashmla*"),
}
# Containers whose PTX stays: Marlin's BF16 x MXFP4 kernels and what packs their weights, for which there is no sm_90.
PTX_OF = {"vllm/_C_stable_libtorch.abi3.so": (69, 70, 71, 72), "vllm/_moe_C_stable_libtorch.abi3.so": (7, 33)}
# Of a model for another GPU; what it imports is not installed, and its caller imports it for every model.
STUBS = {
    "vllm/model_executor/warmup/minimax_m3_msa_warmup.py": "def minimax_m3_msa_warmup(worker):\n    return None\n",
}
# Nine tenths of this library are symbols for debuggers.
STRIPPED = "xgrammar/libxgrammar_bindings*"
XZ = [{"id": lzma.FILTER_LZMA2, "preset": 6, "dict_size": 128 * 2**20}]


@dataclass(frozen=True, slots=True)
class Pack:
    """A built pack. `kernels` is the number of containers of machine code that are the same as in vLLM's wheel."""

    vllm: str
    architecture: str
    python: str
    needs: dict[str, str]
    kernels: int
    parts: dict[str, str]
    bytes: int


def pinned_version(requirements: str, name: str) -> str:
    """Return the version of a package in a requirements file with hashes."""
    found = re.search(rf"^{re.escape(name)}==(\S+)", requirements, re.MULTILINE)
    assert found
    return found[1]


def build_pack(folder: Path, architecture: str = "sm_90", *, wheels: Path | None = None) -> Pack:
    """Build the pack in a new folder and return what it holds.

    `wheels` is a folder with the wheels; None downloads them with pip, which refuses another version or another file by
    its hash. Raises UsageError for an unknown architecture, a folder that is not empty, and wheels that cannot be had.
    """
    if architecture not in ARCHITECTURES:
        raise UsageError(f"cannot build for {architecture!r}; choose {' or '.join(ARCHITECTURES)}")
    if folder.exists() and (folder.is_file() or any(folder.iterdir())):
        raise UsageError(f"{folder} is not empty: name a new folder")
    sm = ARCHITECTURES[architecture]
    with writing(folder, "free space or choose another folder"), tempfile.TemporaryDirectory() as work:
        downloaded = _download(Path(work), wheels)
        (folder / "parts").mkdir(parents=True)
        site, kernels = Path(work) / "site", Path(work) / "kernels"
        same = 0
        for wheel in downloaded:
            same += _unpack(wheel, site, kernels, sm)
        for name, text in STUBS.items():
            if not (site / name).is_file():
                raise UsageError(f"{name} is not in the wheel of vLLM: this pack is for another version")
            (site / name).write_text(text)
        shutil.copytree(PACKAGE, site / "kit/lib/gptoss_bench", ignore=_not_carried)
        shutil.copytree(PACKAGE.parent / "gptoss_client", site / "kit/lib/gptoss_client", ignore=_not_carried)
        kit = package_version("gptoss-bench") or "0"
        metadata = site / f"gptoss_bench-{kit}.dist-info" / "METADATA"  # from which a run takes its version of the kit
        metadata.parent.mkdir()
        metadata.write_text(f"Metadata-Version: 2.1\nName: gptoss-bench\nVersion: {kit}\n")
        if strip := shutil.which("strip"):
            subprocess.run([strip, "--strip-unneeded", *site.glob(STRIPPED)], check=False, capture_output=True)
        with ThreadPoolExecutor() as pool:  # lzma releases the lock of the interpreter
            hashes = pool.map(
                lambda part: _write_archive(folder / "parts" / f"{part.name}.tar.xz", part), (site, kernels)
            )
            parts = dict(zip(("site", "kernels"), hashes, strict=True))
        shutil.copyfile(START, folder / "start.py")
        size = sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())
        version = pinned_version(REQUIREMENTS.read_text(), "vllm")
        pack = Pack(version, architecture, PYTHON, NEEDS, same, parts, size)
        (folder / "pack.json").write_text(json.dumps(asdict(pack), indent=1))
    return pack


def _not_carried(folder: str, names: list[str]) -> list[str]:
    """Name what a copy of the kit leaves out: caches, and the tiny model, which needs no GPU."""
    return [name for name in names if name == "__pycache__" or name.endswith(".gguf")]


def _download(work: Path, wheels: Path | None) -> list[Path]:
    """Return the wheels, checked by their hashes. Raises UsageError where one is missing or another file."""
    target = work / "wheels"
    platforms = [word for name in PLATFORMS for word in ("--platform", name)]
    source = [] if wheels is None else ["--no-index", "--find-links", str(wheels.absolute())]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--disable-pip-version-check", "--no-deps"]
    command += ["--require-hashes", "--only-binary=:all:", "--python-version", PYTHON, "--implementation", "cp"]
    command += [*platforms, *source, "--dest", str(target), "--requirement", str(REQUIREMENTS)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise UsageError(f"the wheels cannot be had: {one_line(' '.join(errors) or done.stderr)}")
    return sorted(target.glob("*.whl"))


def _unpack(wheel: Path, site: Path, kernels: Path, sm: int) -> int:
    """Unpack a wheel without what is not needed; return the number of containers whose machine code is the same."""
    same = 0
    left_out = (*LEFT_OUT, *LEFT_OUT_OF[sm])
    with zipfile.ZipFile(wheel) as content:
        for info in content.infolist():
            if info.is_dir() or any(fnmatch(info.filename, pattern) for pattern in left_out):
                continue
            data = content.read(info)
            compiled = info.filename.startswith("vllm/") and info.filename.endswith(".so")
            if compiled and b".nv_fatbin" in data:
                slimmed = keep_architecture(data, sm, PTX_OF.get(info.filename, ()))
                same += same_code(data, slimmed, sm)
                data = slimmed
            file = (kernels if compiled else site) / info.filename
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(data)
    return same


def _write_archive(path: Path, folder: Path) -> str:
    """Write the files of a folder to a .tar.xz, the same bytes for the same files; return its SHA-256."""

    def plain(info: tarfile.TarInfo) -> tarfile.TarInfo:
        info.uid = info.gid = info.mtime = 0
        info.uname = info.gname = ""
        return info

    with lzma.open(path, "wb", filters=XZ) as packed, tarfile.open(fileobj=packed, mode="w|") as archive:
        for file in sorted(each for each in folder.rglob("*") if each.is_file()):
            archive.add(file, file.relative_to(folder).as_posix(), filter=plain)
    with path.open("rb") as written:
        return hashlib.file_digest(written, "sha256").hexdigest()
