from .api import bench, bench_async, run_sync
from .background_tasks import raise_background_errors, watch_background_tasks
from .evaluate import KEPT_FIELDS, findings_document, finish_interrupted, rebuild_run
from .fleet_load import load_fleet
from .load_process import LoadProcess
from .progress import LoadProgress, ProgressDisplay, RunProgress, clock, run_seconds, showing_progress
from .session import Session, serving
from .stop_signals import kept_text, on_first_stop, stop_on_signals, stop_reason, telling_what_is_kept
from .worker_rows import workers_html, workers_text
from .workers import check_workers, choose_fleet

__all__ = [
    "KEPT_FIELDS",
    "LoadProcess",
    "LoadProgress",
    "ProgressDisplay",
    "RunProgress",
    "Session",
    "bench",
    "bench_async",
    "check_workers",
    "choose_fleet",
    "clock",
    "findings_document",
    "finish_interrupted",
    "kept_text",
    "load_fleet",
    "on_first_stop",
    "raise_background_errors",
    "rebuild_run",
    "run_seconds",
    "run_sync",
    "serving",
    "showing_progress",
    "stop_on_signals",
    "stop_reason",
    "telling_what_is_kept",
    "watch_background_tasks",
    "workers_html",
    "workers_text",
]
