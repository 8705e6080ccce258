from .catalogue import RUN_COLUMNS, displayed_runs, latest_runs, runs_table
from .derived_tables import read_columns, read_requests, write_tables
from .finding import Finding
from .folder import Run, RunFolder, new_run_id
from .labels import (
    CPU_LABEL,
    NO_GPU_LABEL,
    PARTIAL_LABEL,
    REFERENCE_LABEL,
    REMOTE_LABEL,
    TINY_LABEL,
    joined_labels,
    label_of,
    merged_labels,
    split_labels,
    tiny_label,
    without_model,
)
from .manifest import caption, code_version, installed_gpus, machine_facts, package_versions
from .request_detail import raw_bytes, request_events
from .request_table import REQUEST_COLUMNS, derive_tables
from .spool import spooled_since

__all__ = [
    "CPU_LABEL",
    "NO_GPU_LABEL",
    "PARTIAL_LABEL",
    "REFERENCE_LABEL",
    "REMOTE_LABEL",
    "REQUEST_COLUMNS",
    "RUN_COLUMNS",
    "TINY_LABEL",
    "Finding",
    "Run",
    "RunFolder",
    "caption",
    "code_version",
    "derive_tables",
    "displayed_runs",
    "installed_gpus",
    "joined_labels",
    "label_of",
    "latest_runs",
    "machine_facts",
    "merged_labels",
    "new_run_id",
    "package_versions",
    "raw_bytes",
    "read_columns",
    "read_requests",
    "request_events",
    "runs_table",
    "split_labels",
    "spooled_since",
    "tiny_label",
    "without_model",
    "write_tables",
]
