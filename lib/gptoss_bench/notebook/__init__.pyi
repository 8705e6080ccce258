from .finding import place_finding, show_finding
from .fit_panel import open_fit_panel, panel_fits
from .lab import keep_executed_copy, lab_command, lab_environment, prepare_lab
from .live_overhead import OVERHEAD_COLUMNS, errors_agree, measure_overhead
from .live_serving import serving
from .profiles import check_parameters, notebook_parameters, profile_path, read_profile
from .run_browser import open_run_browser
from .run_panel import open_run_panel
from .runner import execute_notebook
from .shown_figures import show_figure
from .tables import show_table

__all__ = [
    "OVERHEAD_COLUMNS",
    "check_parameters",
    "errors_agree",
    "execute_notebook",
    "keep_executed_copy",
    "lab_command",
    "lab_environment",
    "measure_overhead",
    "notebook_parameters",
    "open_fit_panel",
    "open_run_browser",
    "open_run_panel",
    "panel_fits",
    "place_finding",
    "prepare_lab",
    "profile_path",
    "read_profile",
    "serving",
    "show_figure",
    "show_finding",
    "show_table",
]
