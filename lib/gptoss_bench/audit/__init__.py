"""Judge a benchmark that anyone published, in a file or as pasted text.

A file of a benchmark tool or any text enters; results with the lines of their figures, findings by the rules of the
linter, what is missing, what cannot be compared, and a draft of a claims file leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
