from .accuracy import (
    ERROR_SHARE,
    CalibrationLevel,
    calibration_level,
    levels_table,
    limit_text,
    matched,
    streams_of,
    trusted_up_to,
    ttft_errors,
)
from .decoding_speed import measure_decoding_speed
from .peers.registry import PEERS, choose_peers
from .peers.run import PEER_LOADS, compare_clients
from .peers.table import PeerBench, create_bench, is_bench, load_bench, write_bench
from .reference.engine import serve_reference
from .reference.plan import CHOICES, ReferencePlan
from .reference.send_log import lateness_ms, read_send_log, send_log_table, write_send_log
from .reference.server import ReferenceServer
from .self_test import OURS, STOCK, calibration_markdown, measure_levels

__all__ = [
    "CHOICES",
    "ERROR_SHARE",
    "OURS",
    "PEERS",
    "PEER_LOADS",
    "STOCK",
    "CalibrationLevel",
    "PeerBench",
    "ReferencePlan",
    "ReferenceServer",
    "calibration_level",
    "calibration_markdown",
    "choose_peers",
    "compare_clients",
    "create_bench",
    "is_bench",
    "lateness_ms",
    "levels_table",
    "limit_text",
    "load_bench",
    "matched",
    "measure_decoding_speed",
    "measure_levels",
    "read_send_log",
    "send_log_table",
    "serve_reference",
    "streams_of",
    "trusted_up_to",
    "ttft_errors",
    "write_bench",
    "write_send_log",
]
