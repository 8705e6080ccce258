from .accuracy import (
    KIT_CLIENT,
    STOCK_CLIENT,
    TRUSTED_ERROR_SHARE,
    CalibrationLevel,
    levels_table,
    match_events,
    stream_numbers,
    summarise_level,
    trust_limit_text,
    trusted_up_to_events_s,
    ttft_errors_s,
)
from .peers.registry import PEERS_DIR, choose_peers
from .peers.run import PEER_LOADS, compare_clients
from .peers.table import PeerBench, create_peer_bench, load_peer_bench, write_peer_bench
from .reference.engine import serve_reference
from .reference.plan import REFERENCE_PLAN_CHOICES, ReferencePlan
from .reference.send_log import read_send_log, send_log_table, server_lateness_ms, write_send_log
from .reference.server import ReferenceServer
from .self_test import measure_levels

__all__ = [
    "KIT_CLIENT",
    "PEERS_DIR",
    "PEER_LOADS",
    "REFERENCE_PLAN_CHOICES",
    "STOCK_CLIENT",
    "TRUSTED_ERROR_SHARE",
    "CalibrationLevel",
    "PeerBench",
    "ReferencePlan",
    "ReferenceServer",
    "choose_peers",
    "compare_clients",
    "create_peer_bench",
    "levels_table",
    "load_peer_bench",
    "match_events",
    "measure_levels",
    "read_send_log",
    "send_log_table",
    "serve_reference",
    "server_lateness_ms",
    "stream_numbers",
    "summarise_level",
    "trust_limit_text",
    "trusted_up_to_events_s",
    "ttft_errors_s",
    "write_peer_bench",
    "write_send_log",
]
