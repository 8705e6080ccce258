"""Moved down a floor: use `from gptoss_bench.endpoint import Endpoint`."""

from gptoss_bench.endpoint import Endpoint

__all__ = ["Endpoint"]
