"""Whether transformers keeps an MXFP4 checkpoint packed or unpacks it to BF16, and why: its own rules, by version.

Versions and a compute capability go in, the case comes out. Each rule was read in `quantizers/quantizer_mxfp4.py` and
`utils/import_utils.py` of the release that it names, and in the kernel loading of `integrations/mxfp4.py`; a release
between two of them is taken to do as the earlier one, and the case says which that was.
"""
# MERGED: This machine's answer to what mxfp4_rules asks: installed versions, the first GPU's compute capability, t

import importlib.metadata
import os
import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, replace

from packaging.version import InvalidVersion, Version

from gptoss_client import UsageError

STAYS, UNPACKED, FAILS = "stays MXFP4", "unpacked to BF16", "loading fails"


@dataclass(frozen=True, slots=True)
class Rule:
    """What one release of transformers asks for. `kernels` is (at least, below); None where any or no bound holds."""

    version: str
    dated: str  # as in its wheel; empty where that was not looked at
    capability: tuple[int, int]
    package: str  # that brings the kernels
    kernels: tuple[str | None, str | None] = (None, None)
    triton: str = "3.4.0"
    on_cpu: bool = False  # whether it can stay packed on a CPU, where use_kernels=True is given
    strict: bool = False  # whether too old a GPU is an error instead of a reason to unpack


RULES = (
    Rule("4.55.0", "2025-08-05", (9, 0), "triton_kernels", strict=True),
    Rule("4.55.1", "2025-08-13", (7, 5), "kernels"),
    Rule("4.56.2", "", (7, 5), "kernels"),
    Rule("5.0.0", "2026-01-26", (7, 5), "kernels", ("0.9.0", None)),
    Rule("5.5.4", "2026-04-13", (7, 5), "kernels", ("0.10.2", None), on_cpu=True),
    Rule("5.15.1", "2026-08-19", (7, 5), "kernels", ("0.16.0", "0.17.0"), on_cpu=True),
    Rule("5.23.0", "2026-11-13", (7, 5), "kernels", ("0.18.2", "0.19.0"), on_cpu=True),
    Rule("5.24.0", "", (7, 5), "kernels", ("0.18.2", "0.19.0"), on_cpu=True),
)
CPU_TRITON = "3.5.0"


@dataclass(frozen=True, slots=True)
class Setup:
    """One machine: installed versions (None where a package is absent), and its GPU's compute capability or None.

    `kernels_at_hand`: whether the kernels themselves can be had, from the hub or its cache; None where that is open.
    """

    transformers: str
    triton: str | None = None
    kernels: str | None = None
    triton_kernels: str | None = None
    accelerate: str | None = None
    capability: tuple[int, int] | None = None
    kernels_at_hand: bool | None = None
    dequantize: bool = False  # Mxfp4Config(dequantize=True)
    use_kernels: bool = False  # from_pretrained(..., use_kernels=True)


@dataclass(frozen=True, slots=True)
class Case:
    """What becomes of the checkpoint. `silent`: no more than a warning tells of it. `remedy` may be empty."""

    outcome: str
    why: str
    rule: Rule
    silent: bool = False
    remedy: str = ""

    @property
    def dtype(self) -> str:
        """What the expert weights take on the device, as memory.py names it; empty where nothing is loaded."""
        return {STAYS: "mxfp4", UNPACKED: "bf16", FAILS: ""}[self.outcome]


def rule_for(transformers: str) -> Rule:
    """The newest rule that was read in a release no later than this one.

    Raises UsageError for a version before 4.55.0, which has no gpt-oss, and for one that is none.
    """
    version = _version("transformers", transformers)
    known = [rule for rule in RULES if Version(rule.version) <= version]
    if not known:
        raise UsageError(f"transformers {transformers} has no gpt-oss; install {RULES[0].version} or later")
    return known[-1]


def unpacking_case(setup: Setup) -> Case:
    """What this setup makes of an MXFP4 checkpoint, asked in the order in which transformers asks.

    Raises UsageError for a version that is none or too old.
    """
    rule = rule_for(setup.transformers)
    return next(_hindrances(setup, rule), None) or _stays(setup, rule)


def completed(setup: Setup) -> Setup:
    """The same transformers and GPU, with every package and kernel at hand that its rule asks for."""
    rule = rule_for(setup.transformers)
    version = rule.kernels[0] or "1.0"
    whole = replace(setup, triton=CPU_TRITON, accelerate="1.0", kernels_at_hand=True)
    return replace(whole, triton_kernels=version) if rule.strict else replace(whole, kernels=version)


def _stays(setup: Setup, rule: Rule) -> Case:
    doubt = "" if setup.kernels_at_hand else ", if the hub or its cache gives the kernels"
    device = f"compute capability {_dotted(setup.capability)}" if setup.capability else "the CPU with use_kernels=True"
    versions = f"triton {setup.triton} and {rule.package} {_installed(setup, rule.package)}"
    return Case(STAYS, f"{device}, {versions} are what transformers {setup.transformers} asks for{doubt}", rule)


def _hindrances(setup: Setup, rule: Rule) -> Iterator[Case]:
    """Everything that keeps the checkpoint from staying packed, the first to be met first."""

    def unpacked(why: str, remedy: str) -> Case:
        return Case(UNPACKED, why, rule, silent=True, remedy=remedy)

    def fails(why: str, remedy: str) -> Case:
        return Case(FAILS, why, rule, remedy=remedy)

    on_gpu = setup.capability is not None
    if setup.dequantize:
        yield Case(UNPACKED, "Mxfp4Config(dequantize=True) asks for it", rule)
    if not on_gpu and rule.strict:
        yield fails(f"transformers {rule.version} loads MXFP4 on a GPU only", "use a GPU")
    if not on_gpu and not rule.on_cpu:
        yield unpacked("there is no GPU", "use a GPU")
    if setup.accelerate is None:
        yield fails("MXFP4 needs the accelerate package", "pip install accelerate")
    old = f"compute capability {_dotted(setup.capability)} is below {_dotted(rule.capability)}"
    too_old = setup.capability is not None and setup.capability < rule.capability
    if too_old and not rule.strict:
        yield unpacked(old, "use a newer GPU")
    triton = rule.triton if on_gpu else CPU_TRITON
    if setup.triton is None or _version("triton", setup.triton) < Version(triton):
        had = f"triton is {setup.triton}" if setup.triton else "triton is not installed"
        yield unpacked(f"{had}, and {triton} or later is asked for", f"pip install 'triton>={triton}'")
    if why := _kernels_lack(setup, rule):
        yield unpacked(why, f"pip install '{_wanted(rule)}'")
    if too_old:
        yield fails(f"{old}, and it refuses", "use transformers 4.55.1 or later, or dequantize")
    if on_gpu and setup.use_kernels and rule.on_cpu:
        yield unpacked("use_kernels=True on CUDA switches MXFP4 off", "leave use_kernels out")
    if not on_gpu and not setup.use_kernels:
        yield unpacked("on a CPU MXFP4 needs use_kernels=True", "give use_kernels=True")
    if setup.kernels_at_hand is False:
        why = f"the kernels come from the hub, and neither it nor its cache has them here ({rule.package})"
        yield fails(why, "load once with a network, or dequantize")


def _wanted(rule: Rule) -> str:
    """What pip is to be asked for."""
    least, below = rule.kernels
    bounds = [bound for bound in (least and f">={least}", below and f"<{below}") if bound]
    return rule.package + ",".join(bounds)


def _kernels_lack(setup: Setup, rule: Rule) -> str | None:
    """What is wrong with the package of kernels, in words."""
    version, (least, below) = _installed(setup, rule.package), rule.kernels
    if version is None:
        return f"{rule.package} is not installed"
    parsed = _version(rule.package, version)
    if (least and parsed < Version(least)) or (below and parsed >= Version(below)):
        return f"{rule.package} is {version}, and {_wanted(rule)} is asked for"
    return None


def _installed(setup: Setup, package: str) -> str | None:
    return setup.triton_kernels if package == "triton_kernels" else setup.kernels


def _dotted(capability: tuple[int, int] | None) -> str:
    return ".".join(map(str, capability or ()))


def _version(package: str, text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise UsageError(f"{package} {text!r} is no version; give one such as {RULES[-1].version}") from error


# Where transformers 5 and before it looked for the kernels on the hub.
KERNEL_REPOSITORIES = ("kernels-community/gpt-oss-triton-kernels", "kernels-community/triton_kernels")


def setup_here(*, dequantize: bool = False) -> Setup:
    """What is installed in the running Python. Raises UsageError where transformers is not."""
    transformers = installed("transformers")
    if transformers is None:
        raise UsageError("transformers is not installed; run make setup")
    return Setup(
        transformers=transformers,
        triton=installed("triton"),
        kernels=installed("kernels"),
        triton_kernels=installed("triton_kernels"),
        accelerate=installed("accelerate"),
        capability=compute_capability(),
        kernels_at_hand=kernels_at_hand(),
        dequantize=dequantize,
    )


def installed(package: str) -> str | None:
    """The version of an installed package, None where there is none."""
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def compute_capability() -> tuple[int, int] | None:
    """That of the first NVIDIA GPU, by nvidia-smi; None where there is none."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else None


def kernels_at_hand() -> bool | None:
    """True where the hub's cache has the kernels, False where it has not and may not ask; None where asking decides."""
    from huggingface_hub.constants import HF_HUB_CACHE  # a second of import, and only this needs it

    folders = [f"models--{name.replace('/', '--')}" for name in KERNEL_REPOSITORIES]
    kinds = [folder.replace("models--", kind) for folder in folders for kind in ("models--", "kernels--")]
    if any(os.path.isdir(os.path.join(HF_HUB_CACHE, folder, "snapshots")) for folder in kinds):
        return True
    return False if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else None
