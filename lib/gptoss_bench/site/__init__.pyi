from .build import build_site, with_evidence
from .report import HourlyPrice, Report, report_on

__all__ = ["HourlyPrice", "Report", "build_site", "report_on", "with_evidence"]
