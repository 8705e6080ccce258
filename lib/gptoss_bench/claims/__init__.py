"""Decide published claims by arithmetic and by measured runs.

A claims file and runs enter; one verdict with its evidence per claim leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
