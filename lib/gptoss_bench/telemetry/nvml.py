"""What NVIDIA's driver says of its GPUs, through NVML. What a GPU does not tell (a vGPU: much) is None."""

from collections.abc import Callable, Collection
from typing import Any

REASONS = {
    0x4: "power cap",
    0x8: "hardware slowdown",
    0x20: "thermal (software)",
    0x40: "thermal (hardware)",
    0x80: "power brake",
}  # of NVML's clocks event reasons those that make a GPU slower than it would like; idle and set clocks do not
NO_DRIVER = "the NVIDIA driver's library (libnvidia-ml.so.1) is not there"


class Gpus:
    """The GPUs of this machine. Without a driver or a package there are none, and `words` says why."""

    def __init__(self) -> None:
        """Open NVML; nothing is raised."""
        self._handles: list[Any] = []
        self.devices: list[dict[str, Any]] = []
        self.words: str | None = None
        try:
            import pynvml  # a machine without a GPU has no use for it
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

    def sample(self, ours: Collection[int] | None) -> list[dict[str, Any]]:
        """One row a GPU, now. `ours` are the processes of the engine and the client; None where they are not known."""
        return [{"gpu": index} | self._row(handle, ours) for index, handle in enumerate(self._handles)]

    def _device(self, handle: Any) -> dict[str, Any]:
        nvml = self._nvml
        memory = self._memory(handle)
        return {
            "name": _text(self._ask(nvml.nvmlDeviceGetName, handle)),
            "memory_total_bytes": memory and int(memory.total),
            "power_limit_w": _scaled(self._ask(nvml.nvmlDeviceGetEnforcedPowerLimit, handle), 1e-3),
        }

    def _row(self, handle: Any, ours: Collection[int] | None) -> dict[str, Any]:
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
        """As nvidia-smi counts it: without what the driver keeps for itself, where the driver tells the two apart."""
        reported = self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle, self._nvml.nvmlMemory_v2)
        return reported or self._ask(self._nvml.nvmlDeviceGetMemoryInfo, handle)

    def _ask(self, question: Callable[..., Any], *of: Any) -> Any:
        """The answer; None where this GPU or this driver does not know, and where the GPU is lost."""
        try:
            return question(*of)
        except self._nvml.NVMLError:
            return None


def _text(value: Any) -> str | None:
    return value.decode(errors="replace") if isinstance(value, bytes) else value


def _scaled(value: float | None, scale: float) -> float | None:
    return None if value is None else value * scale
