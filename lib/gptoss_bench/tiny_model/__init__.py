"""Train the tiny gpt-oss model of the embedded engine.

A recipe and a small text enter. A GGUF file or a checkpoint with the architecture of gpt-oss leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
