"""Draw figures of runs, one function per figure.

Tables, a summary and a manifest enter; a matplotlib figure with its caption and label leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
