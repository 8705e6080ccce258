"""Read the GPUs from NVIDIA's driver through NVML; a quantity that a GPU does not report (a vGPU: many) is None."""

from collections.abc import Callable, Collection
from typing import Any

REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}  # NVML's clocks event reasons that make a GPU slower; not the reasons idle and set clocks
GpuRow = dict[str, str | int | float | None]
NO_DRIVER = "the NVIDIA driver's library (libnvidia-ml.so.1) is not there"


class Gpus:
    """The GPUs of this machine, `devices`; without a driver or a package there are none, and `words` says why."""

    def __init__(self) -> None:
        """Open NVML; an error is not raised but becomes `words`."""
        self._handles: list[Any] = []
        self.devices: list[GpuRow] = []
        self.words: str | None = None
        try:
            import pynvml  # only where GPUs are queried
        except ImportError:
            self.words = "no GPU seen: the package nvidia-ml-py is not installed"
            return
        self._nvml = pynvml
        try:
            pynvml.nvmlInit()
            driver = _text(self._ask(pynvml.nvmlSystemGetDriverVersion))
            count = pynvml.nvmlDeviceGetCount()
            self._handles = [pynvml.nvmlDeviceGetHandleByIndex(index) for index in range(count)]
        except pynvml.NVMLError as error:
            missing = isinstance(error, pynvml.NVMLError_LibraryNotFound)
            self.words = f"no GPU: {NO_DRIVER if missing else f'NVML says {error}'}"
            return
        if not self._handles:
            self.words = "no GPU: the NVIDIA driver is there and lists none"
        self.devices = [self._device(handle) | {"driver": driver} for handle in self._handles]

    def sample(self, ours: Collection[int] | None) -> list[GpuRow]:
        """Return one row per GPU, now. `ours` are the processes of engine and client; None where they are unknown."""
        return [{"gpu": index} | self._row(handle, ours) for index, handle in enumerate(self._handles)]

    def memory_used_bytes(self) -> int | None:
        """Return the memory in use on all GPUs together, now; None if no GPU reports it."""
        found = [self._memory(handle) for handle in self._handles]
        used = [int(memory.used) for memory in found if memory is not None]
        return sum(used) if used else None

    def _device(self, handle: Any) -> GpuRow:
        nvml = self._nvml
        memory = self._memory(handle)
        return {
            "name": _text(self._ask(nvml.nvmlDeviceGetName, handle)),
            "memory_total_bytes": memory and int(memory.total),
            "power_limit_w": _scaled(self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle), 1e-3),
        }

    def _row(self, handle: Any, ours: Collection[int] | None) -> GpuRow:
        nvml = self._nvml
        memory = self._memory(handle)
        busy = self._ask(nvml.nvmlDeviceGetUtilizationRates, handle)
        mask = self._ask(nvml.nvmlDeviceGetCurrentClocksEventReasons, handle)
        if mask is None:  # drivers before 535 know it by its older name
            mask = self._ask(nvml.nvmlDeviceGetCurrentClocksThrottleReasons, handle)
        processes = self._ask(nvml.nvmlDeviceGetComputeRunningProcesses, handle)
        others = None if processes is None or ours is None else sum(each.pid not in ours for each in processes)
        return {
            "memory_used_bytes": memory and int(memory.used),
            "utilisation": busy and busy.gpu / 100,
            "memory_utilisation": busy and busy.memory / 100,
            "power_w": _scaled(self._ask(nvml.nvmlDeviceGetPowerUsage, handle), 1e-3),
            "energy_j": _scaled(self._ask(nvml.nvmlDeviceGetTotalEnergyConsumption, handle), 1e-3),
            "sm_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_SM),
            "memory_clock_mhz": self._ask(nvml.nvmlDeviceGetClockInfo, handle, nvml.NVML_CLOCK_MEM),
            "temperature_c": self._ask(nvml.nvmlDeviceGetTemperature, handle, nvml.NVML_TEMPERATURE_GPU),
            "throttle": None if mask is None else "+".join(word for bit, word in REASONS.items() if mask & bit),
            "processes": None if processes is None else len(processes),
            "other_processes": others,
        }

    def _memory(self, handle: Any) -> Any:
        """Return the memory as nvidia-smi counts it: without what the driver reserves, if that is known."""
        reported = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle, self._nvml.nvmlMemory_v2)
        return reported or self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)

    def _ask(self, question: Callable[..., Any], *of: Any) -> Any:
        """Return the answer; None if this GPU or driver does not have it, or the GPU is lost."""
        try:
            return question(*of)
        except self._nvml.NVMLError:
            return None


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
