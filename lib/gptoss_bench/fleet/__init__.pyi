from .clock import ClockOffset, ClockProbe, clock_offset, worker_clock
from .dask_fleet import DaskFleet
from .link import LoadEnd, WorkerJob, WorkerLink, worker_job
from .placement import Fleet, LocalFleet

__all__ = [
    "ClockOffset",
    "ClockProbe",
    "DaskFleet",
    "Fleet",
    "LoadEnd",
    "LocalFleet",
    "WorkerJob",
    "WorkerLink",
    "clock_offset",
    "worker_clock",
    "worker_job",
]
