"""Re-measure gpt-oss where a public write-up did, and decide each of its claims.

A server enters; a run folder, verdicts and figures leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
