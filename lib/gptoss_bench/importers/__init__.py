"""Read the result files of other benchmark tools.

The text of a file enters; results under the names of this kit leave, so that the same rules can check them.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
