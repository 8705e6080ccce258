"""The servers that the kit measures: started or attached to, asked what they are, and stopped."""

from gptoss_bench.engines.endpoint import Endpoint

__all__ = ["Endpoint"]
