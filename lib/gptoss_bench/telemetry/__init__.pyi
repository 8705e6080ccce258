from .host_usage import CpuUsed
from .nvml import Gpus
from .recorder import TelemetryRecorder, record_telemetry
from .samples import PHASE_AFTER, PHASE_BEFORE, PHASE_ENDED, PHASE_INFERENCE, PHASE_LOADING, PHASE_SWEEP

__all__ = [
    "PHASE_AFTER",
    "PHASE_BEFORE",
    "PHASE_ENDED",
    "PHASE_INFERENCE",
    "PHASE_LOADING",
    "PHASE_SWEEP",
    "CpuUsed",
    "Gpus",
    "TelemetryRecorder",
    "record_telemetry",
]
