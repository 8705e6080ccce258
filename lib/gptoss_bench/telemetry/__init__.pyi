from .host_usage import CpuUsed
from .nvml import Gpus
from .recorder import TelemetryRecorder, record_telemetry, recover_samples
from .samples import describe_again

__all__ = [
    "CpuUsed",
    "Gpus",
    "TelemetryRecorder",
    "describe_again",
    "record_telemetry",
    "recover_samples",
]
