"""Stand in for a GPU in vLLM 0.26: its platform for CUDA, with the answers of the card of a pack. For `dry_run.py`."""

import os
from typing import Any

from vllm.platforms.cuda import NonNvmlCudaPlatform
from vllm.platforms.interface import DeviceCapability

CAPABILITY = "GPTOSS_CAPABILITY"
MEMORY = {9: 80 * 2**30, 8: 24 * 2**30}  # of an H100, and of an A10


class StandInPlatform(NonNvmlCudaPlatform):  # type: ignore[misc]
    """vLLM's platform for CUDA where it would ask a GPU."""

    @classmethod
    def get_device_capability(cls, device_id: int = 0) -> Any:
        """Return the compute capability in the environment, such as 90."""
        major, minor = divmod(int(os.environ[CAPABILITY]), 10)
        return DeviceCapability(major=major, minor=minor)

    @classmethod
    def get_device_name(cls, device_id: int = 0) -> str:
        """Return the name that vLLM logs."""
        return "no GPU (stand-in)"

    @classmethod
    def get_device_total_memory(cls, device_id: int = 0) -> int:
        """Return the memory of the card."""
        return MEMORY[cls.get_device_capability().major]

    @classmethod
    def device_count(cls) -> int:
        """Return one."""
        return 1

    @classmethod
    def num_compute_units(cls, device_id: int = 0) -> int:
        """Return a number of multiprocessors."""
        return 132
