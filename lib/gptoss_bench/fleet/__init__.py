"""Place the worker processes of one load on this machine or on a Dask cluster, and talk to them.

A worker enters as a number; a link to its process and, at the end, its run folder leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
