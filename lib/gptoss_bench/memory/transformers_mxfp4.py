"""Predict whether transformers keeps an MXFP4 checkpoint packed or unpacks it to BF16, and why.

Installed versions and a compute capability enter; the decision leaves. Each rule was read in
`quantizers/quantizer_mxfp4.py`, `utils/import_utils.py` and `integrations/mxfp4.py` of the release that it names. A
release between two of them is assumed to behave like the earlier one; the decision names that release.
"""

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
class TransformersRule:
    """What one release of transformers requires to keep MXFP4 packed."""

    version: str
    dated: str  # release date in its wheel; empty: not checked
    capability: tuple[int, int]
    package: str  # provides the kernels
    kernels: tuple[str | None, str | None] = (None, None)  # (minimum, first excluded) version; None: no bound
    triton: str = "3.4.0"
    on_cpu: bool = False  # can stay packed on a CPU, with use_kernels=True
    strict: bool = False  # a GPU that is too old is an error, not a reason to unpack


RULES = (
    TransformersRule("4.55.0", "2025-08-05", (9, 0), "triton_kernels", strict=True),
    TransformersRule("4.55.1", "2025-08-13", (7, 5), "kernels"),
    TransformersRule("4.56.2", "", (7, 5), "kernels"),
    TransformersRule("5.0.0", "2026-01-26", (7, 5), "kernels", ("0.9.0", None)),
    TransformersRule("5.5.4", "2026-04-13", (7, 5), "kernels", ("0.10.2", None), on_cpu=True),
    TransformersRule("5.15.1", "2026-08-19", (7, 5), "kernels", ("0.16.0", "0.17.0"), on_cpu=True),
    TransformersRule("5.23.0", "2026-11-13", (7, 5), "kernels", ("0.18.2", "0.19.0"), on_cpu=True),
    TransformersRule("5.24.0", "", (7, 5), "kernels", ("0.18.2", "0.19.0"), on_cpu=True),
)
CPU_TRITON = "3.5.0"
# Where transformers 5 and earlier releases look for the kernels on the hub.
KERNEL_REPOSITORIES = ("kernels-community/gpt-oss-triton-kernels", "kernels-community/triton_kernels")


@dataclass(frozen=True, slots=True)
class TransformersSetup:
    """Installed versions (None: not installed) and GPU of one machine, and the options of loading."""

    transformers: str
    triton: str | None = None
    kernels: str | None = None
    triton_kernels: str | None = None
    accelerate: str | None = None
    capability: tuple[int, int] | None = None  # None: no GPU
    kernels_at_hand: bool | None = None  # available from the hub or its cache; None: unknown
    dequantize: bool = False  # Mxfp4Config(dequantize=True)
    use_kernels: bool = False  # from_pretrained(..., use_kernels=True)


@dataclass(frozen=True, slots=True)
class Mxfp4Decision:
    """What transformers does with the checkpoint, and how to change it."""

    outcome: str  # STAYS, UNPACKED or FAILS
    why: str
    rule: TransformersRule
    silent: bool = False  # reported by at most a warning
    remedy: str = ""

    @property
    def dtype(self) -> str:
        """Return the dtype of the expert weights on the device; empty if nothing is loaded."""
        return {STAYS: "mxfp4", UNPACKED: "bf16", FAILS: ""}[self.outcome]


def rule_for(transformers: str) -> TransformersRule:
    """Return the newest rule of a release that is not later than this version.

    Raises UsageError for an invalid version, and for one before 4.55.0, which has no gpt-oss.
    """
    version = _version("transformers", transformers)
    rules = [rule for rule in RULES if Version(rule.version) <= version]
    if not rules:
        raise UsageError(f"transformers {transformers} has no gpt-oss; install {RULES[0].version} or later")
    return rules[-1]


def predict_mxfp4_decision(setup: TransformersSetup) -> Mxfp4Decision:
    """Return what transformers does with an MXFP4 checkpoint, by checks in the same order as its own.

    Raises UsageError for an invalid version or one that is too old.
    """
    rule = rule_for(setup.transformers)
    return next(_obstacles(setup, rule), None) or _stays(setup, rule)


def with_required_packages(setup: TransformersSetup) -> TransformersSetup:
    """Return the same transformers and GPU with every package and kernel that its rule requires."""
    rule = rule_for(setup.transformers)
    version = rule.kernels[0] or "1.0"
    complete = replace(setup, triton=CPU_TRITON, accelerate="1.0", kernels_at_hand=True)
    return replace(complete, triton_kernels=version) if rule.strict else replace(complete, kernels=version)


def _stays(setup: TransformersSetup, rule: TransformersRule) -> Mxfp4Decision:
    condition = "" if setup.kernels_at_hand else ", if the hub or its cache provides the kernels"
    device = f"compute capability {_dotted(setup.capability)}" if setup.capability else "the CPU with use_kernels=True"
    versions = f"triton {setup.triton} and {rule.package} {_installed(setup, rule.package)}"
    return Mxfp4Decision(
        STAYS, f"{device}, {versions} meet the requirements of transformers {setup.transformers}{condition}", rule
    )


def _obstacles(setup: TransformersSetup, rule: TransformersRule) -> Iterator[Mxfp4Decision]:
    """Yield every reason why the checkpoint does not stay packed, in the order of the checks."""

    def unpacked(why: str, remedy: str) -> Mxfp4Decision:
        return Mxfp4Decision(UNPACKED, why, rule, silent=True, remedy=remedy)

    def fails(why: str, remedy: str) -> Mxfp4Decision:
        return Mxfp4Decision(FAILS, why, rule, remedy=remedy)

    on_gpu = setup.capability is not None
    if setup.dequantize:
        yield Mxfp4Decision(UNPACKED, "Mxfp4Config(dequantize=True) requests it", rule)
    if not on_gpu and rule.strict:
        yield fails(f"transformers {rule.version} loads MXFP4 on a GPU only", "use a GPU")
    if not on_gpu and not rule.on_cpu:
        yield unpacked("there is no GPU", "use a GPU")
    if setup.accelerate is None:
        yield fails("MXFP4 needs the accelerate package", "pip install accelerate")
    below = f"compute capability {_dotted(setup.capability)} is below {_dotted(rule.capability)}"
    too_old = setup.capability is not None and setup.capability < rule.capability
    if too_old and not rule.strict:
        yield unpacked(below, "use a newer GPU")
    triton = rule.triton if on_gpu else CPU_TRITON
    if setup.triton is None or _version("triton", setup.triton) < Version(triton):
        found = f"triton is {setup.triton}" if setup.triton else "triton is not installed"
        yield unpacked(f"{found}; {triton} or later is required", f"pip install 'triton>={triton}'")
    if why := _kernels_problem(setup, rule):
        yield unpacked(why, f"pip install '{_requirement(rule)}'")
    if too_old:
        yield fails(f"{below}, which this version refuses", "use transformers 4.55.1 or later, or dequantize")
    if on_gpu and setup.use_kernels and rule.on_cpu:
        yield unpacked("use_kernels=True on CUDA disables MXFP4", "remove use_kernels")
    if not on_gpu and not setup.use_kernels:
        yield unpacked("on a CPU MXFP4 needs use_kernels=True", "set use_kernels=True")
    if setup.kernels_at_hand is False:
        why = f"the kernels are not in the hub's cache and HF_HUB_OFFLINE is set ({rule.package})"
        yield fails(why, "load once with a network, or dequantize")


def _requirement(rule: TransformersRule) -> str:
    """Return the requirement to pass to pip."""
    least, below = rule.kernels
    bounds = [bound for bound in (least and f">={least}", below and f"<{below}") if bound]
    return rule.package + ",".join(bounds)


def _kernels_problem(setup: TransformersSetup, rule: TransformersRule) -> str | None:
    """Return why the package of kernels does not meet the rule; None if it does."""
    version, (least, below) = _installed(setup, rule.package), rule.kernels
    if version is None:
        return f"{rule.package} is not installed"
    parsed = _version(rule.package, version)
    if (least and parsed < Version(least)) or (below and parsed >= Version(below)):
        return f"{rule.package} is {version}; {_requirement(rule)} is required"
    return None


def _installed(setup: TransformersSetup, package: str) -> str | None:
    return setup.triton_kernels if package == "triton_kernels" else setup.kernels


def _dotted(capability: tuple[int, int] | None) -> str:
    return ".".join(map(str, capability or ()))


def _version(package: str, text: str) -> Version:
    try:
        return Version(text)
    except InvalidVersion as error:
        raise UsageError(f"{package} {text!r} is not a version; pass one such as {RULES[-1].version}") from error


def installed_setup(*, dequantize: bool = False) -> TransformersSetup:
    """Return the setup of the running Python and this machine. Raises UsageError if transformers is not installed."""
    transformers = _installed_version("transformers")
    if transformers is None:
        raise UsageError("transformers is not installed; run `make setup`")
    return TransformersSetup(
        transformers=transformers,
        triton=_installed_version("triton"),
        kernels=_installed_version("kernels"),
        triton_kernels=_installed_version("triton_kernels"),
        accelerate=_installed_version("accelerate"),
        capability=_compute_capability(),
        kernels_at_hand=_kernels_at_hand(),
        dequantize=dequantize,
    )


def _installed_version(package: str) -> str | None:
    try:
        return importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        return None


def _compute_capability() -> tuple[int, int] | None:
    """Return that of the first NVIDIA GPU, from nvidia-smi; None without one."""
    if shutil.which("nvidia-smi") is None:
        return None
    query = ["nvidia-smi", "--query-gpu=compute_cap", "--format=csv,noheader"]
    try:
        shown = subprocess.run(query, capture_output=True, text=True, timeout=20, check=False).stdout
    except (OSError, subprocess.TimeoutExpired):
        return None
    found = re.match(r"(\d+)\.(\d+)", shown)
    return (int(found[1]), int(found[2])) if found else None


def _kernels_at_hand() -> bool | None:
    """Return whether the hub's cache has the kernels; None if it does not, but they may be downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE  # its import takes a second, and only this function needs it

    folders = [f"models--{name.replace('/', '--')}" for name in KERNEL_REPOSITORIES]
    kinds = [folder.replace("models--", kind) for folder in folders for kind in ("models--", "kernels--")]
    if any(os.path.isdir(os.path.join(HF_HUB_CACHE, folder, "snapshots")) for folder in kinds):
        return True
    return False if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0") else None
