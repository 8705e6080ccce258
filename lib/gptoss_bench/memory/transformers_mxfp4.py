"""Look up whether transformers keeps an MXFP4 checkpoint packed or unpacks it to BF16, and why.

Installed versions and a compute capability enter; the decision leaves. transformers_mxfp4.csv has one row per check of
transformers, in the order of its checks: the releases that make it (from `since` to below `before`), the condition that
they check, the outcome if it does not hold, and the line of transformers' source. Rows were read in the releases that
`since`, `before` and `source` name; a release between two of them is assumed to behave like the earlier one.
"""

import csv
import io
from dataclasses import dataclass, fields, replace
from functools import cache
from pathlib import Path
from typing import Any

from packaging.version import InvalidVersion, Version

from gptoss_bench import paths
from gptoss_bench.runs import package_version, query_nvidia_smi
from gptoss_client import UsageError

STAYS, UNPACKED, FAILS = "stays MXFP4", "unpacked to BF16", "loading fails"
NOT_INSTALLED = "not installed"
PACKAGES = ("triton", "kernels", "triton_kernels", "accelerate")
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
class Mxfp4Rule:
    """One row of the table: what some releases do if a condition does not hold. An empty field sets no condition."""

    since: str  # first release of transformers
    before: str  # first release that the row does not hold for
    device: str  # "gpu" or "cpu"
    fact: str  # field of TransformersSetup that is checked
    at_least: str  # lowest accepted version
    below: str  # lowest version that is too new
    equals: str  # accepted words, separated by spaces
    outcome: str  # STAYS, UNPACKED or FAILS
    silent: str  # "yes": reported by at most a warning
    why: str  # {names} stand for facts
    remedy: str
    source: str  # tag, path and line in the repository huggingface/transformers
    code: str  # that line

    def applies_to(self, facts: dict[str, str]) -> bool:
        """Return whether these releases are meant and the condition does not hold."""
        version, device = Version(facts["transformers"]), facts["device"]
        if not _in_range(version, self.since, self.before) or self.device not in ("", device):
            return False
        if not self.fact:
            return True
        found = facts[self.fact]
        if self.equals:
            return found not in self.equals.split()
        return found == NOT_INSTALLED or not _in_range(Version(found), self.at_least, self.below)


@dataclass(frozen=True, slots=True)
class Mxfp4Decision:
    """What transformers does with the checkpoint, and how to change it."""

    outcome: str  # STAYS, UNPACKED or FAILS
    why: str
    rule: Mxfp4Rule
    silent: bool  # reported by at most a warning
    remedy: str

    @property
    def dtype(self) -> str:
        """Return the dtype of the expert weights on the device; empty if nothing is loaded."""
        return {STAYS: "mxfp4", UNPACKED: "bf16", FAILS: ""}[self.outcome]


@cache
def mxfp4_rules() -> tuple[Mxfp4Rule, ...]:
    """Return the rows of the kit's transformers_mxfp4.csv."""
    rows = csv.DictReader(io.StringIO(paths.TRANSFORMERS_MXFP4.read_text(encoding="utf-8")))
    return tuple(Mxfp4Rule(**row) for row in rows)


def predict_mxfp4_decision(setup: TransformersSetup) -> Mxfp4Decision:
    """Return what transformers does with an MXFP4 checkpoint: the outcome of the first row that applies.

    Raises UsageError for an invalid version, and for a transformers before 4.55.0, which has no gpt-oss.
    """
    facts = _facts(setup)
    rule = next(rule for rule in mxfp4_rules() if rule.applies_to(facts))  # the last row sets no condition
    return Mxfp4Decision(rule.outcome, rule.why.format(**facts), rule, rule.silent == "yes", rule.remedy)


def with_required_packages(setup: TransformersSetup) -> TransformersSetup:
    """Return the same transformers and GPU with the kernels, and each required package in its lowest accepted version.

    Raises UsageError as `predict_mxfp4_decision` does.
    """
    setup = replace(setup, kernels_at_hand=True)
    while (rule := predict_mxfp4_decision(setup).rule).fact in PACKAGES:
        lowest: dict[str, Any] = {rule.fact: rule.at_least}
        setup = replace(setup, **lowest)
    return setup


def _facts(setup: TransformersSetup) -> dict[str, str]:
    """Return what the rows refer to, as text: the fields of the setup, "device" and "place"."""
    facts = {}
    for field in fields(setup):
        value = getattr(setup, field.name)
        if field.name in ("transformers", *PACKAGES):
            facts[field.name] = NOT_INSTALLED if value is None else _valid_version(field.name, value)
        elif field.name == "capability":
            facts[field.name] = ".".join(map(str, value or ()))
        else:
            facts[field.name] = {True: "yes", False: "no", None: "unknown"}[value]
    oldest = mxfp4_rules()[0].since
    if Version(setup.transformers) < Version(oldest):
        raise UsageError(f"transformers {setup.transformers} has no gpt-oss; install {oldest} or later")
    on_gpu = setup.capability is not None
    facts["device"] = "gpu" if on_gpu else "cpu"
    facts["place"] = f"compute capability {facts['capability']}" if on_gpu else "the CPU with use_kernels=True"
    return facts


def _in_range(version: Version, least: str, below: str) -> bool:
    return (not least or version >= Version(least)) and (not below or version < Version(below))


def _valid_version(package: str, text: str) -> str:
    try:
        Version(text)
    except InvalidVersion as error:
        raise UsageError(f"{package} {text!r} is not a version; pass one such as 5.23.0") from error
    return text


def installed_setup() -> TransformersSetup:
    """Return the setup of the running Python and this machine. Raises UsageError if transformers is not installed."""
    transformers = package_version("transformers")
    if transformers is None:
        raise UsageError("transformers is not installed; run `make setup`")
    gpus, _ = query_nvidia_smi()
    return TransformersSetup(
        transformers=transformers,
        triton=package_version("triton"),
        kernels=package_version("kernels"),
        triton_kernels=package_version("triton_kernels"),
        accelerate=package_version("accelerate"),
        capability=gpus[0].compute_capability if gpus else None,
        kernels_at_hand=_kernels_at_hand(),
    )


def _kernels_at_hand() -> bool | None:
    """Return whether the hub's cache has the kernels; None if it does not, but they may be downloaded."""
    from huggingface_hub.constants import HF_HUB_CACHE, HF_HUB_OFFLINE  # only this function needs it; takes a second

    folders = [f"{kind}--{name.replace('/', '--')}" for name in KERNEL_REPOSITORIES for kind in ("models", "kernels")]
    if any((Path(HF_HUB_CACHE) / folder / "snapshots").is_dir() for folder in folders):
        return True
    return False if HF_HUB_OFFLINE else None
