"""Verify the folder of a run that somebody else made: whether everything in it agrees with its raw bytes.

A folder enters; checks leave, each passed or refused with its reasons. What agrees with itself may still be false: raw
bytes that were forged together with everything else are not found.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
