from .api import bench, bench_async, run_sync
from .background_tasks import assert_no_lost_task, watch_background_tasks
from .evaluate import findings_document, rebuild_run
from .load_process import LoadProcess, Server
from .session import Session, serving

__all__ = [
    "LoadProcess",
    "Server",
    "Session",
    "assert_no_lost_task",
    "bench",
    "bench_async",
    "findings_document",
    "rebuild_run",
    "run_sync",
    "serving",
    "watch_background_tasks",
]
