from .host_usage import CpuUsed
from .nvml import Gpus
from .recorder import TelemetryRecorder, record_telemetry, recover_samples

__all__ = [
    "CpuUsed",
    "Gpus",
    "TelemetryRecorder",
    "record_telemetry",
    "recover_samples",
]
