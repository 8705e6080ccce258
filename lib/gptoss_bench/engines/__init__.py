"""The servers that the kit measures: started or attached to, asked what they are, and stopped."""

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.attaching import attach
from gptoss_bench.engines.ollama import unload
from gptoss_bench.engines.opening import open_engine

__all__ = ["Endpoint", "attach", "open_engine", "unload"]
