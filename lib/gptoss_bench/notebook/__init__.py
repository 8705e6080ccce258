"""Execute notebooks without a browser and show runs in JupyterLab.

Notebooks and profiles enter; executed copies, tables and interactive panels leave.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
