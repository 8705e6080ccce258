"""State what is wrong with data from outside.

The errors that pydantic raises enter; one sentence per mistake leaves, with the field, its value and what it has to be.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
