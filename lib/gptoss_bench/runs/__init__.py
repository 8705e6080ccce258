"""Keep a run on disk and read it back.

Traces and manifests enter; a run folder with raw bytes, request and event tables leaves, and `Run` reads it as
pandas frames.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
