"""Measure how wrong a client is on this machine.

A client and a paced reference server that logs each send enter; the client's timing errors at each load leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
