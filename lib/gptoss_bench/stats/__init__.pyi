from .agreement import FIRST_EVENT, agreement_table, client_server_agreement, decode_rates, server_range_text
from .bootstrap import interval_over_runs
from .capacity import (
    CAPACITY_MOST,
    CAPACITY_UNITS,
    CapacitySearch,
    PlannedLevel,
    capacity_curve,
    capacity_level,
    capacity_levels,
    capacity_phase,
    capacity_text,
    evaluate_capacity,
    next_level,
    price_text,
    slo_text,
    usd_per_mtok_at,
)
from .client_bound import (
    CLIENT_BOUND_CPU_SHARE,
    CLIENT_BOUND_IDLE_SHARE,
    CLIENT_BOUND_LATE_SHARE,
    ClientBound,
    client_bound,
)
from .client_pauses import heartbeat_lateness, measured_stalls
from .client_uncertainty import UNCERTAIN_SHARE, ClientPair, client_pairs, client_text
from .closed_loop_view import OpenLoopTimes, closed_loop_rows, open_loop_text, open_loop_times
from .comparison import SAME_MARGIN, ComparedResult, Difference, MeasuredRate, compare_results, comparison_table
from .consistency import CONSISTENCY_CHECKS, PrintedFigure
from .error_bar import client_error_bar, error_bar_text, select_calibration
from .fleet import fleet_summary, set_worst_client
from .gate import CANNOT_TELL, FAILS, Limit, LimitResult, check_limits
from .goodput import parse_slo
from .impossible import LITTLE, MISSING_REQUESTS, Contradiction, as_printed, find_contradictions
from .percentiles import MIN_SAMPLES_BEYOND, REPORTED_PERCENTILES, enough_moments, non_null, percentile
from .row_selection import measured_rows
from .side_by_side import COMPARED_QUANTITIES, RATE_KINDS, points_side_by_side, quantity_of_note
from .summary import GAP_COLUMNS, ReadColumns, energy_summary, summarise
from .sweep import has_steady_rates, parse_sweep_levels, sweep_phase, sweep_plans, sweep_rows
from .text_report import headline, result_block
from .trials import MIN_TREND_RUNS, intervals_within, run_spreads, spreads_text

__all__ = [
    "CANNOT_TELL",
    "CAPACITY_MOST",
    "CAPACITY_UNITS",
    "CLIENT_BOUND_CPU_SHARE",
    "CLIENT_BOUND_IDLE_SHARE",
    "CLIENT_BOUND_LATE_SHARE",
    "COMPARED_QUANTITIES",
    "CONSISTENCY_CHECKS",
    "FAILS",
    "FIRST_EVENT",
    "GAP_COLUMNS",
    "LITTLE",
    "MIN_SAMPLES_BEYOND",
    "MIN_TREND_RUNS",
    "MISSING_REQUESTS",
    "RATE_KINDS",
    "REPORTED_PERCENTILES",
    "SAME_MARGIN",
    "UNCERTAIN_SHARE",
    "CapacitySearch",
    "ClientBound",
    "ClientPair",
    "ComparedResult",
    "Contradiction",
    "Difference",
    "Limit",
    "LimitResult",
    "MeasuredRate",
    "OpenLoopTimes",
    "PlannedLevel",
    "PrintedFigure",
    "ReadColumns",
    "agreement_table",
    "as_printed",
    "capacity_curve",
    "capacity_level",
    "capacity_levels",
    "capacity_phase",
    "capacity_text",
    "check_limits",
    "client_bound",
    "client_error_bar",
    "client_pairs",
    "client_server_agreement",
    "client_text",
    "closed_loop_rows",
    "compare_results",
    "comparison_table",
    "decode_rates",
    "energy_summary",
    "enough_moments",
    "error_bar_text",
    "evaluate_capacity",
    "find_contradictions",
    "fleet_summary",
    "has_steady_rates",
    "headline",
    "heartbeat_lateness",
    "interval_over_runs",
    "intervals_within",
    "measured_rows",
    "measured_stalls",
    "next_level",
    "non_null",
    "open_loop_text",
    "open_loop_times",
    "parse_slo",
    "parse_sweep_levels",
    "percentile",
    "points_side_by_side",
    "price_text",
    "quantity_of_note",
    "result_block",
    "run_spreads",
    "select_calibration",
    "server_range_text",
    "set_worst_client",
    "slo_text",
    "spreads_text",
    "summarise",
    "sweep_phase",
    "sweep_plans",
    "sweep_rows",
    "usd_per_mtok_at",
]
