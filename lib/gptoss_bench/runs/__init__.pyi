from .catalogue import RUN_COLUMNS, filter_runs, latest_runs, runs_table
from .derived_tables import read_event_columns, read_requests, write_tables
from .finding import Finding
from .folder import Run, RunFolder, new_run_id
from .labels import (
    CPU_LABEL,
    NO_GPU_LABEL,
    PARTIAL_LABEL,
    REFERENCE_LABEL,
    REMOTE_LABEL,
    TINY_LABEL,
    join_labels,
    merge_labels,
    model_label,
    no_gpt_oss_labels,
    split_labels,
    tiny_model_label,
)
from .manifest import code_version, installed_gpus, machine_facts, package_versions, run_caption
from .request_detail import request_events, response_body
from .request_table import REQUEST_COLUMNS, derive_tables
from .spool import read_spool_from

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
    "code_version",
    "derive_tables",
    "filter_runs",
    "installed_gpus",
    "join_labels",
    "latest_runs",
    "machine_facts",
    "merge_labels",
    "model_label",
    "new_run_id",
    "no_gpt_oss_labels",
    "package_versions",
    "read_event_columns",
    "read_requests",
    "read_spool_from",
    "request_events",
    "response_body",
    "run_caption",
    "runs_table",
    "split_labels",
    "tiny_model_label",
    "write_tables",
]
