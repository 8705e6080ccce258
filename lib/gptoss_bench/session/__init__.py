"""Measure one run: serve, probe, load, evaluate, finish.

An engine and a load plan enter; a finished run folder with its summary and findings leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
