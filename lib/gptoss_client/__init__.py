"""Send a load plan to one server and return one trace per request.

A `LoadPlan` and an `Endpoint` enter; each request leaves as a `Trace` with kernel timestamps and raw bytes, which
`Decoder` turns into events. The package stands alone: it knows the standard library, httpx and httptools, and no
table library.
"""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
