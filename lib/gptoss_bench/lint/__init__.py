"""Check whether a result can be trusted.

A result of this kit or of another tool enters; findings with severity, evidence and advice leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
