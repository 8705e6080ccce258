"""Make the tiny gpt-oss model of the embedded engine.

A recipe and a small text enter; a GGUF file or a checkpoint with the true architecture leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
