"""Check the facts about a machine against the needs of a scenario: one result per check, with the fixing command."""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace

from gptoss_bench.engines.random_model import RandomModel
from gptoss_bench.engines.registry import ENGINE_SPECS, is_tried, release_of, tried_releases
from gptoss_bench.memory import Architecture, estimate_fit, weights_bytes, with_layers
from gptoss_bench.runs import SmiGpu

DOCTOR_SCENARIOS = {
    "local": "every notebook on the embedded engine, no GPU",
    "a10": "Ollama on an A10",
    "h100": "vLLM on an H100",
    "bf16": "transformers in BF16 against the memory of an A10",
}
TARGETS = {"local": "make run", "a10": "make run-a10", "h100": "make run-h100", "bf16": "make run-bf16"}
DOCTOR_ENGINES = {"a10": "ollama", "h100": "vllm"}
CARDS = {"a10": "A10", "h100": "H100"}
SIZES = {"a10": "Standard_NV36ads_A10_v5", "h100": "Standard_NC40ads_H100_v5"}
# Another way, where the weights need not be on this machine.
CONTAINERS = {
    "vllm": "  (or its container, attached to: docker run --gpus all --ipc=host -p 8000:8000 "
    "vllm/vllm-openai --model openai/gpt-oss-20b, then make run-h100 URL=http://127.0.0.1:8000)",
}
DRIVER = "az vm extension set --publisher Microsoft.HpcCompute --name NvidiaGpuDriverLinux --vm-name … -g …"
GOOD_CLOCKS = ("tsc", "hyperv_clocksource_tsc_page", "kvm-clock", "arch_sys_counter")  # read without a system call
RESULTS_BYTES = 10**9  # assumed size of some run folders
SPARE_FILES = 64  # as in `connecting`

OK, FAIL, NOTE = "ok", "fail", "note"


@dataclass(frozen=True, slots=True)
class Program:
    """A found engine: its place ("PATH" or a folder of this checkout) and its version, None if not reported."""

    where: str
    version: str | None


@dataclass(frozen=True, slots=True)
class MachineFacts:
    """Facts about this machine. `models` maps each scenario to the place of its model, None if it was not found."""

    system: str
    cards: tuple[SmiGpu, ...]
    pci_devices: int  # NVIDIA devices on the bus, with or without a driver
    smi: str | None  # None: nvidia-smi works; else the reason why not
    programs: Mapping[str, Program]
    models: Mapping[str, str | None]
    free_bytes: Mapping[str, int | None]  # by "results" and by the scenario whose model would be fetched
    open_files: tuple[int, int] | None  # soft and hard; None: no limit
    clock: str | None
    clock_read_ns: int
    kernel_timestamps: bool
    packages: Mapping[str, str | None] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Need:
    """What a scenario needs: its model (with the architecture if that is known) and the load on it."""

    model: str
    architecture: Architecture | None
    sequences: int  # requests in flight, each with a connection and a KV cache of its own
    context: int  # tokens of each


@dataclass(frozen=True, slots=True)
class CheckResult:
    """The result of one check: "ok", "fail" (the scenario cannot run) or "note", and the command that fixes it."""

    check: str
    state: str
    words: str
    fix: str = ""

    def __str__(self) -> str:
        """Format the result as the line that is printed."""
        return f"  {self.state:5}  {self.check:13}  {self.words}" + (f"  ->  {self.fix}" if self.fix else "")


def examine(scenario: str, facts: MachineFacts, need: Need) -> list[CheckResult]:
    """Run all checks of one scenario of DOCTOR_SCENARIOS, or of an engine of CHECKED_ENGINES on any hardware.

    Raises UsageError for random weights of an unknown model.
    """
    random = RandomModel.parse(need.model)
    if random and need.architecture:
        need = replace(need, architecture=with_layers(need.architecture, random.layers))
    lines: list[CheckResult] = []
    if scenario in DOCTOR_ENGINES:
        lines += [_gpu(scenario, facts), _memory(scenario, facts, need), _engine(scenario, facts, need)]
        lines.append(_model(scenario, facts, need))
    elif scenario in ENGINE_SPECS:
        lines.append(_engine(scenario, facts, need))
    elif scenario == "local":
        made = facts.models["local"]
        lines.append(
            CheckResult(
                "model", OK if made else FAIL, made or "the tiny model is missing", "" if made else "make model"
            )
        )
    else:
        lines += [_packages(facts), _address_space(facts)]
    return [*lines, _disk(facts), _open_files(facts, need), _clock(facts), _timestamps(facts)]


def can_run(lines: list[CheckResult]) -> bool:
    """Return whether no check failed."""
    return all(line.state != FAIL for line in lines)


def report_heading(scenario: str, lines: list[CheckResult]) -> str:
    """Return the line above the checks: the scenario and whether this machine can run it."""
    failed = sum(line.state == FAIL for line in lines)
    target = TARGETS.get(scenario, f"bench(engine='{scenario}', …)")
    verdict = (
        f"this machine can: {target}"
        if not failed
        else f"this machine cannot: {failed} check{'s' * (failed > 1)} failed"
    )
    engine = ENGINE_SPECS.get(scenario)
    title = f"{engine.title} on this machine" if engine else DOCTOR_SCENARIOS[scenario]
    return f"{scenario}: {title} - {verdict}"


def _gpu(scenario: str, facts: MachineFacts) -> CheckResult:
    if facts.cards:
        card = _largest(facts)
        words = f"{card.name}, driver {card.driver}" + (f", and {len(facts.cards) - 1} more" if facts.cards[1:] else "")
        if CARDS[scenario] in card.name.replace("-", " ").split():
            return CheckResult("GPU", OK, words)
        return CheckResult(
            "GPU", NOTE, f"{words}: not the {CARDS[scenario]} of the write-up, so its figures are this card's own"
        )
    if facts.pci_devices:
        why = facts.smi or "nvidia-smi lists no GPU"
        return CheckResult("GPU", FAIL, f"an NVIDIA device was found, but its driver is not installed: {why}", DRIVER)
    why = "" if facts.smi is None else f" ({facts.smi})"
    return CheckResult("GPU", FAIL, f"no GPU was found{why}", f"use a VM of size {SIZES[scenario]}")


def _largest(facts: MachineFacts) -> SmiGpu:
    return max(facts.cards, key=lambda card: card.memory_mib or 0)


def _memory(scenario: str, facts: MachineFacts, need: Need) -> CheckResult:
    """Check that one GPU holds the weights, the KV cache of all requests in flight, and what engine and driver use."""
    if need.architecture is None:
        return CheckResult("GPU memory", NOTE, f"how much {need.model} needs is not known here")
    held = estimate_fit(need.architecture, "mxfp4", "", 0, context=need.context, sequences=need.sequences)
    bytes_needed = held.need_bytes
    words = f"{need.model} in MXFP4 with {need.sequences} × {need.context} tokens needs {_gb(bytes_needed)}"
    have = _bytes(_largest(facts).memory_mib) if facts.cards else None
    if have is None:
        return CheckResult("GPU memory", NOTE, f"{words}; its size is unknown")
    words = f"{words}, the GPU has {_gb(have)}"
    used = _bytes(_largest(facts).used_mib) or 0
    if have >= bytes_needed > have - used:
        return CheckResult("GPU memory", NOTE, f"{words}, of which {_gb(used)} are in use: nvidia-smi shows by whom")
    if have >= bytes_needed:
        return CheckResult("GPU memory", OK, words)
    return CheckResult("GPU memory", FAIL, words, f"use a larger GPU ({SIZES[scenario]}), or a smaller model: MODEL=…")


def _engine(scenario: str, facts: MachineFacts, need: Need) -> CheckResult:
    name = DOCTOR_ENGINES.get(scenario, scenario)
    get = ENGINE_SPECS[name].install
    if not RandomModel.parse(need.model):  # else its weights are on this machine
        get += CONTAINERS.get(name, "")
    found = facts.programs.get(name)
    if found is None:
        program = ENGINE_SPECS[name].program
        return CheckResult("engine", FAIL, f"{program} is not on PATH and not in build/{program}", get)
    words = f"{name} {found.version or 'of an unknown version'} ({found.where})"
    if (release := release_of(found.version)) and release < ENGINE_SPECS[name].first_version:
        return CheckResult("engine", FAIL, f"{words} does not know gpt-oss yet", get)
    if not ENGINE_SPECS[name].tried_versions or is_tried(name, found.version):
        return CheckResult("engine", OK, words)
    return CheckResult(
        "engine", NOTE, f"{words}: this kit was tried with {tried_releases(name)}; names may differ in another"
    )


def _model(scenario: str, facts: MachineFacts, need: Need) -> CheckResult:
    if where := facts.models.get(scenario):
        return CheckResult("model", OK, f"{need.model}: {where}")
    if scenario == "a10":
        return CheckResult("model", FAIL, f"{need.model} was not pulled", f"ollama pull {need.model}")
    free, size = facts.free_bytes.get(scenario), None
    if need.architecture is not None:
        size = weights_bytes(need.architecture, "mxfp4")
    made = RandomModel.parse(need.model) is not None
    words = f"{need.model} is not here yet and will be {'made in build/random' if made else 'fetched'}"
    if free is not None and size is not None and free < size + (RESULTS_BYTES if made else 0):
        fix = "free some space, or move this checkout to a larger disk" if made else "export HF_HOME=/a/larger/disk"
        return CheckResult("model", FAIL, f"{words}: {_gb(size)}, and {_gb(free)} are free", fix)
    return CheckResult("model", NOTE, words + (f": {_gb(size)}" if size else ""))


def _packages(facts: MachineFacts) -> CheckResult:
    missing = [name for name in ("torch", "transformers") if not facts.packages.get(name)]
    if missing:
        return CheckResult("packages", FAIL, f"{' and '.join(missing)} not installed", "make setup-torch")
    return CheckResult(
        "packages", OK, ", ".join(f"{name} {facts.packages[name]}" for name in ("torch", "transformers"))
    )


def _address_space(facts: MachineFacts) -> CheckResult:
    """Check for Linux: only its limit of the address space can hold the load attempt to the memory of an A10."""
    if facts.system == "Linux":
        return CheckResult("memory limit", OK, "Linux can limit the address space; no GPU is needed")
    return CheckResult(
        "memory limit", FAIL, f"{facts.system} cannot limit the address space", "run it in a Linux container"
    )


def _disk(facts: MachineFacts) -> CheckResult:
    free = facts.free_bytes.get("results")
    if free is None:
        return CheckResult("disk", NOTE, "the free space for results is unknown")
    if free < RESULTS_BYTES:
        return CheckResult(
            "disk", FAIL, f"{_gb(free)} free for results, {_gb(RESULTS_BYTES)} wanted", "free some space"
        )
    return CheckResult("disk", OK, f"{_gb(free)} free for results")


def _open_files(facts: MachineFacts, need: Need) -> CheckResult:
    wanted = need.sequences + SPARE_FILES
    if facts.open_files is None:
        return CheckResult("open files", OK, "no limit")
    soft, hard = facts.open_files
    if hard < wanted:
        return CheckResult(
            "open files", FAIL, f"{wanted} wanted, {hard} allowed", f"sudo prlimit --pid $$ --nofile={wanted}"
        )
    raised = "" if soft >= wanted else f", of {soft} now; the load raises it itself"
    return CheckResult("open files", OK, f"{wanted} wanted, {hard} allowed{raised}")


def _clock(facts: MachineFacts) -> CheckResult:
    words = f"{facts.clock or 'its source is not reported'}; one reading takes {facts.clock_read_ns} ns"
    if facts.clock is None or facts.clock in GOOD_CLOCKS:
        return CheckResult("clock", OK if facts.clock else NOTE, words)
    file = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
    return CheckResult("clock", NOTE, f"{words}, by a system call", f"echo tsc | sudo tee {file}")


def _timestamps(facts: MachineFacts) -> CheckResult:
    if facts.kernel_timestamps:
        return CheckResult("timestamps", OK, "the kernel timestamps arrivals")
    words = "no kernel timestamps: arrivals are timed when they are read, and a busy client reads late"
    return CheckResult("timestamps", NOTE, words, "use Linux and http://")


def _bytes(mib: int | None) -> int | None:
    return None if mib is None else mib * 2**20


def _gb(count: int) -> str:
    return f"{count / 1e9:.1f} GB"
