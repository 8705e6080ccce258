"""Compute the memory that a model needs, and load it for real.

A model configuration and a GPU enter. Bytes by part, whether they fit, and the outcome of a real attempt to load the
weights leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
