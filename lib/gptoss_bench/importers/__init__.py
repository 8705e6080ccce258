"""Read the result files of other benchmark tools, and write a run in the one format that is made for exchange.

The text of a file enters; results under the names of this kit leave, so that the same rules can check them. A run
enters; llm-d's Benchmark Report leaves.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
