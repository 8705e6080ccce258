from .check import CANNOT_FIND, Check, Verification
from .verify_run import verify_run

__all__ = ["CANNOT_FIND", "Check", "Verification", "verify_run"]
