"""Turn request and event tables into numbers.

Tables enter; percentiles, intervals, summaries, sweeps, comparisons and consistency checks leave, without any I/O.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
