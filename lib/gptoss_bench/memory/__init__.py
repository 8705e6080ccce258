"""Compute the memory that a model needs, and load it for real.

A model configuration and a GPU enter; bytes by part, whether it fits, and the outcome of a real attempt to load it
leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
