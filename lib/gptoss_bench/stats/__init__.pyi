from .agreement import FIRST, agreement_table, allowance_text, client_server_agreement, decode_rates
from .bootstrap import run_intervals
from .comparison import SAME_MARGIN, Difference, Side, compare, comparison_table
from .consistency import CHECKS, PrintedFigures
from .error_bar import (
    CPU_SHARE,
    LAG_SHARE,
    SHARED_READ_SHARE,
    client_bound,
    client_error_bar,
    error_bar_text,
    select_calibration,
)
from .percentiles import NS_PER_S, SAMPLES_BEYOND, bootstrap_interval, known, measured_rows, percentile, row_medians
from .side_by_side import PERCENTILES, QUANTITIES, about_result, points_side_by_side
from .summary import GAPS, ReadColumns, energy_summary, summarise
from .sweep import level_plans, levels_from, phase_of, sweep_rows
from .text_report import result_block
from .trials import FEWEST_TRIALS, narrow_enough, trial_text, watched_quantities

__all__ = [
    "CHECKS",
    "CPU_SHARE",
    "FEWEST_TRIALS",
    "FIRST",
    "GAPS",
    "LAG_SHARE",
    "NS_PER_S",
    "PERCENTILES",
    "QUANTITIES",
    "SAME_MARGIN",
    "SAMPLES_BEYOND",
    "SHARED_READ_SHARE",
    "Difference",
    "PrintedFigures",
    "ReadColumns",
    "Side",
    "about_result",
    "agreement_table",
    "allowance_text",
    "bootstrap_interval",
    "client_bound",
    "client_error_bar",
    "client_server_agreement",
    "compare",
    "comparison_table",
    "decode_rates",
    "energy_summary",
    "error_bar_text",
    "known",
    "level_plans",
    "levels_from",
    "measured_rows",
    "narrow_enough",
    "percentile",
    "phase_of",
    "points_side_by_side",
    "result_block",
    "row_medians",
    "run_intervals",
    "select_calibration",
    "summarise",
    "sweep_rows",
    "trial_text",
    "watched_quantities",
]
