"""Say in a sentence or two what a figure shows, with the numbers that were drawn.

The tables and summaries of a figure enter; text leaves. A function has the name of the function of `figures` that it
reads.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
