"""Turn runs and their executed notebooks into pages that open from disk.

Run folders enter; a folder of HTML pages without scripts, or a Markdown report on one run, leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
