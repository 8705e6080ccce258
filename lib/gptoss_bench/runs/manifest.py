"""Define the manifest of a run, and assemble it: machine, GPUs, code and packages (no host or user name)."""

import contextlib
import hashlib
import json
import os
import platform
import subprocess
import time
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, JsonValue

from gptoss_bench import paths
from gptoss_bench.runs.calibration import CalibrationReference
from gptoss_bench.runs.installed import package_version, query_nvidia_smi
from gptoss_bench.runs.record import Record, read_record
from gptoss_client import Endpoint, UsageError

SCHEMA_VERSION = 2
EMBEDDED = "-embedded"  # the end of a version that is no release: an emulator answers it
PACKAGES = (
    "gptoss-bench",
    "httpx",
    "numpy",
    "pandas",
    "pyarrow",
    "papermill",
    "transformers",
    "torch",
    "xllamacpp",
)

Status = Literal["running", "complete", "incomplete"]


class CodeVersion(Record):
    """The kit that made the run; `dirty`: whether files of its checkout were changed."""

    version: str | None = None
    commit: str | None = None
    """Commit of the checkout; None outside one."""
    dirty: bool | None = None


class Machine(Record):
    """The machine of the client."""

    id: str | None = None
    """A hash of the system's own ids, see `machine_id`; None where there is none."""
    cpu: str | None = None
    cores: int | None = None
    memory_gib: float | None = None
    system: str | None = None
    python: str | None = None


class InstalledGpu(Record):
    """One GPU of the client's machine."""

    name: str
    memory_mib: int | None = None
    driver: str | None = None


class EndpointRecord(Record):
    """The measured server, with the fields of `gptoss_client.Endpoint`; its labels are those of the run."""

    url: str | None = None
    model: str | None = None
    dialect: str | None = None
    engine: str | None = None
    version: str | None = None
    quantisation: str | None = None
    keep_alive: bool | None = None
    ready_s: float | None = None
    """Seconds from launch to first token; None if the run did not launch the server."""
    request_fields: list[str] | None = None
    """Optional fields of a plan that the server understands; None: unknown."""
    facts: dict[str, JsonValue] = Field(default_factory=dict)
    """Everything else that the server reported."""

    @classmethod
    def of(cls, endpoint: Endpoint) -> Self:
        """Return the record of an endpoint."""
        fields = asdict(endpoint)
        fields["request_fields"] = None if endpoint.request_fields is None else list(endpoint.request_fields)
        return cls.model_validate(fields)

    @property
    def release(self) -> str:
        """Engine and version, such as "vllm 0.32.0", without the version of an emulator, which is no release."""
        version = None if (self.version or "").endswith(EMBEDDED) else self.version
        return " ".join(filter(None, (self.engine, version)))


class Clock(Record):
    """The clock of all timestamps; `steps` is how often the wall clock was set during the measurement."""

    source: str | None = None
    unit: str | None = None
    start_ns: int | None = None
    steps: int | None = None


class ClientLimits(Record):
    """The error bar of the client as text, and the reasons why it limited the run (CLIENT-BOUND); empty if not."""

    error_bar: str = ""
    bound: list[str] = Field(default_factory=list)


class Shard(Record):
    """The part of a load that one of several client processes sent: number `index` from 0 of `count`."""

    index: int
    count: int


class WorkerClock(Record):
    """How far the clock of a worker is ahead of the coordinator's (ns), and how wrong that can be at most.

    `drift_ppm` is how much faster it runs; None if it was not compared after the load too.
    """

    offset_ns: int
    bound_ns: int
    drift_ppm: float | None = None


class Worker(Record):
    """One process of a load that several processes sent; its own run folder is shards/`index`."""

    index: int
    slots: int
    requests: int | None = None
    """Number of its requests of the measured phase; None: the load ends by time."""
    begin_ns: int | None = None
    """When its load was to begin, by the coordinator's clock; None: it never was."""
    clock: WorkerClock | None = None
    lost: str | None = None
    """Why its process was gone before its end."""
    lost_ns: int | None = None
    """When this was noticed, by the coordinator's clock."""


class Purpose(Record):
    """Why a run was made: `run` gave these parameters, of this profile in notebooks/profiles, to its notebook."""

    profile: str
    parameters: dict[str, JsonValue] = Field(default_factory=dict)


class Manifest(Record):
    """How and where a run was made. Of a result of another tool only a part is known."""

    schema_version: int = SCHEMA_VERSION
    run_id: str = ""
    scenario: str = ""
    status: Status = "complete"
    reason: str | None = None
    """Why the run is not complete."""
    labels: list[str] = Field(default_factory=list)
    """Labels that every figure and table of the run shows, such as TINY MODEL."""
    command: str | None = None
    """Command line; None for a notebook."""
    parameters: dict[str, JsonValue] = Field(default_factory=dict)
    """Load plan and launch options, or the parameters of the notebook."""
    purpose: Purpose | None = None
    """None: an ad-hoc run, or one of an earlier kit."""
    code: CodeVersion = Field(default_factory=CodeVersion)
    machine: Machine | None = None
    gpus: list[InstalledGpu] | None = None
    """Empty: no NVIDIA GPU; None: unknown."""
    endpoint: EndpointRecord | None = None
    clock: Clock | None = None
    start_utc: str | None = None
    end_utc: str | None = None
    packages: dict[str, str | None] = Field(default_factory=dict)
    """Version of each package that can move a number; None if it was not installed."""
    calibration: CalibrationReference | None = None
    client: ClientLimits | None = None
    shard: Shard | None = None
    workers: list[Worker] | None = None
    """The processes that sent the load together; None: one process sent it."""
    repeat_group: str | None = None
    """Id that all runs of one repeated load have in common; None for a single run."""
    notes: list[str] = Field(default_factory=list)
    """Remarks of whoever made the run."""

    @property
    def server(self) -> EndpointRecord:
        """The endpoint; an empty one if the run has none."""
        return self.endpoint or EndpointRecord()


def new_manifest(run_id: str, scenario: str, parameters: dict[str, JsonValue], command: str | None) -> Manifest:
    """Return the manifest of a run that begins now; endpoint and end are still null."""
    return Manifest(
        schema_version=SCHEMA_VERSION,
        run_id=run_id,
        scenario=scenario,
        status="running",
        reason=None,
        labels=[],
        command=command,
        parameters=json.loads(json.dumps(parameters)),  # tuples become lists
        code=code_version(),
        machine=machine_facts(),
        gpus=installed_gpus(),
        endpoint=None,
        clock=Clock(source="CLOCK_MONOTONIC", unit="ns", start_ns=time.perf_counter_ns()),
        start_utc=utc_now(),
        end_utc=None,
        packages=package_versions(),
    )


def read_manifest(content: JsonValue, file: Path) -> Manifest:
    """Return the content of a manifest.json. Raises UsageError if a value is missing or not valid."""
    found = read_record(Manifest, content, file)
    if missing := [name for name in ("run_id", "scenario", "status") if name not in found.model_fields_set]:
        raise UsageError(f"{file} has no {missing[0]}: it is not the manifest of a run")
    return found


def run_caption(manifest: Manifest, *, labels: bool = True, run_id: bool = True) -> str:
    """Return labels, engine, version, model, hardware and run on one line, without what was excluded.

    The version of an emulator is left out.
    """
    server, machine = manifest.server, manifest.machine
    hardware = ", ".join(gpu.name for gpu in manifest.gpus or [])
    if not hardware and machine is not None:
        hardware = f"no GPU, {machine.cores} cores of {machine.cpu}"
    model = " ".join(filter(None, (server.model, server.quantisation)))
    shown_labels = ", ".join(manifest.labels) if labels else ""
    return " · ".join(filter(None, (shown_labels, server.release, model, hardware, manifest.run_id if run_id else "")))


def utc_now() -> str:
    """Return the time in UTC, in ISO format with milliseconds."""
    return datetime.now(UTC).isoformat(timespec="milliseconds")


def machine_facts() -> Machine:
    """Return id, CPU model and count, memory in GiB, system and Python version."""
    return Machine(
        id=machine_id(),
        cpu=_cpu_model(),
        cores=os.cpu_count(),
        memory_gib=_memory_gib(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        python=platform.python_version(),
    )


def machine_id() -> str | None:
    """Return a hash of the machine's id and its last start; None where the system has neither.

    The start belongs to it because machines that are made from one image can share their id, and because a virtual
    machine may start again on other hardware.
    """
    found = []
    for file in ("/etc/machine-id", "/proc/sys/kernel/random/boot_id"):
        with contextlib.suppress(OSError):
            found.append(Path(file).read_text().strip())
    text = "\n".join(found).strip() or _output(["sysctl", "-n", "kern.bootsessionuuid"]).strip()  # macOS
    return hashlib.sha256(f"gptoss-bench machine: {text}".encode()).hexdigest()[:16] if text else None


def installed_gpus() -> list[InstalledGpu]:
    """Return name, memory in MiB and driver of each NVIDIA GPU; empty without one."""
    gpus, _ = query_nvidia_smi()
    return [InstalledGpu(name=gpu.name, memory_mib=gpu.memory_mib, driver=gpu.driver) for gpu in gpus]


def code_version() -> CodeVersion:
    """Return the version of the kit, the commit of its checkout (None outside one), and whether files were changed."""
    commit = _output(["git", "rev-parse", "--short=12", "HEAD"], cwd=paths.ROOT).strip() or None
    changed = _output(["git", "status", "--porcelain", "--", "lib", "notebooks"], cwd=paths.ROOT).strip()
    return CodeVersion(version=package_version("gptoss-bench"), commit=commit, dirty=bool(changed) if commit else None)


def package_versions() -> dict[str, str | None]:
    """Return the installed version of each package that can move a number; None if not installed."""
    return {name: package_version(name) for name in PACKAGES}


def _output(command: list[str], cwd: Path | None = None) -> str:
    try:
        done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout if done.returncode == 0 else ""


def _cpu_model() -> str:
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return names[0] if names else platform.machine()


def _memory_gib() -> float | None:
    try:
        return round(os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30, 1)
    except (ValueError, OSError):
        return None
