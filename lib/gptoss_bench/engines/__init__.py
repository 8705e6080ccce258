"""The servers that the kit measures: started or attached to, asked what they are, and stopped."""

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.attaching import attach
from gptoss_bench.engines.ollama_models import pull, unload
from gptoss_bench.engines.opening import Wish, check, open_engine

__all__ = ["Endpoint", "Wish", "attach", "check", "open_engine", "pull", "unload"]
