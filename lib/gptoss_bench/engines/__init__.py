"""Launch a model server or attach to a running one.

A kind of engine, a model or a URL enter; an `Endpoint` that has returned a token leaves, and whatever was started
is stopped on exit.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
