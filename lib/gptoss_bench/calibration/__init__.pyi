from .accuracy import (
    KIT_CLIENT,
    STOCK_CLIENT,
    TRUSTED_ERROR_SHARE,
    ClientTables,
    LevelSample,
    levels_table,
    require_matched_events,
    run_sample,
    summarise_level,
    trust_limit_text,
    trusted_up_to_events_s,
)
from .certification.run import (
    Certificate,
    CertifiedError,
    CertifiedLevel,
    CertifiedTool,
    certificate_text,
    certify,
)
from .loads import CalibrationLoad, calibration_loads
from .measure import measure_levels, skipped_kinds
from .method_trial import TrialCase, trial_cases, trial_table, trial_text, try_published_method
from .peers.registry import PEERS_DIR, choose_peers
from .peers.run import PEER_LOADS, compare_clients
from .peers.table import PeerBench, PeerBenchManifest, create_peer_bench, write_peer_bench
from .reference.engine import serve_reference
from .reference.plan import REFERENCE_PLAN_CHOICES, ReferencePlan
from .reference.send_log import read_send_log, send_log_table, server_lateness_ms, write_send_log
from .reference.server import ReferenceServer

__all__ = [
    "KIT_CLIENT",
    "PEERS_DIR",
    "PEER_LOADS",
    "REFERENCE_PLAN_CHOICES",
    "STOCK_CLIENT",
    "TRUSTED_ERROR_SHARE",
    "CalibrationLoad",
    "Certificate",
    "CertifiedError",
    "CertifiedLevel",
    "CertifiedTool",
    "ClientTables",
    "LevelSample",
    "PeerBench",
    "PeerBenchManifest",
    "ReferencePlan",
    "ReferenceServer",
    "TrialCase",
    "calibration_loads",
    "certificate_text",
    "certify",
    "choose_peers",
    "compare_clients",
    "create_peer_bench",
    "levels_table",
    "measure_levels",
    "read_send_log",
    "require_matched_events",
    "run_sample",
    "send_log_table",
    "serve_reference",
    "server_lateness_ms",
    "skipped_kinds",
    "summarise_level",
    "trial_cases",
    "trial_table",
    "trial_text",
    "trust_limit_text",
    "trusted_up_to_events_s",
    "try_published_method",
    "write_peer_bench",
    "write_send_log",
]
