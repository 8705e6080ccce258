from .calibration import CALIBRATION_COLUMNS, cpu_by_load, error_by_kind, error_by_load
from .capacity import headroom_map, need_against_budget
from .capacity_search import share_within_slo
from .certificate import certificate_figure
from .comparison import overlay_labels, request_timeline, runs_overlaid
from .heat_table import HeatCell, HeatTable
from .load import (
    cold_and_warm,
    decode_rates_by_source,
    gap_distribution,
    latency_distributions,
    published_and_measured,
    requests_in_flight,
)
from .machine import client_against_server, machine_timeline
from .memory import attempt_against_budget, weights_by_module
from .method_trial import printed_and_true_ttft
from .open_loop import waiting_from_due
from .picture import figure_html, figure_svg
from .side_by_side import results_side_by_side
from .sinks import sink_shares, sink_support_map
from .sweep import PublishedPoint, throughput_against_latency
from .verdicts import ttft_over_latency, verdict_overview

__all__ = [
    "CALIBRATION_COLUMNS",
    "HeatCell",
    "HeatTable",
    "PublishedPoint",
    "attempt_against_budget",
    "certificate_figure",
    "client_against_server",
    "cold_and_warm",
    "cpu_by_load",
    "decode_rates_by_source",
    "error_by_kind",
    "error_by_load",
    "figure_html",
    "figure_svg",
    "gap_distribution",
    "headroom_map",
    "latency_distributions",
    "machine_timeline",
    "need_against_budget",
    "overlay_labels",
    "printed_and_true_ttft",
    "published_and_measured",
    "request_timeline",
    "requests_in_flight",
    "results_side_by_side",
    "runs_overlaid",
    "share_within_slo",
    "sink_shares",
    "sink_support_map",
    "throughput_against_latency",
    "ttft_over_latency",
    "verdict_overview",
    "waiting_from_due",
    "weights_by_module",
]
