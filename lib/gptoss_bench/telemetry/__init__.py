"""Sample GPU, host and server metrics beside a load.

Phase marks enter; tables of samples and the server's own counters before and after the load leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
