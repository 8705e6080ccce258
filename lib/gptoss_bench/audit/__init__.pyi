from .draft import draft_claims
from .judge import Audit, AuditedResult, audit_text
from .published_text import FoundFigure

__all__ = ["Audit", "AuditedResult", "FoundFigure", "audit_text", "draft_claims"]
