"""Our front that speaks Ollama's API over the embedded llama.cpp, started as an engine."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.llama_cpp import MODEL_NAME, require_tiny
from gptoss_bench.engines.ollama import describe_ollama
from gptoss_client import Endpoint


@dataclass(frozen=True, slots=True)
class OllamaEmulator:
    """The front with `slots` requests at a time; it loads the tiny model as Ollama would: when it is asked first."""

    log_dir: Path
    slots: int
    context: int = 2048
    log_name: str = "ollama-front.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Raise UsageError where the tiny model is missing."""
        require_tiny()
        return Endpoint(url="", model=MODEL_NAME, dialect="ollama", engine="ollama", facts={"num_parallel": self.slots})

    def command(self, port: int) -> list[str]:
        """The front as a child of this Python."""
        options = {"port": port, "slots": self.slots, "context": self.context, "log-dir": self.log_dir}
        texts = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.ollama_emulator.server", *texts]

    def environment(self, port: int) -> dict[str, str]:
        """None is needed."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """As an Ollama; it owns up to what it is by its version."""
        return await describe_ollama(http, endpoint)


def serve_emulator(
    log_dir: Path, *, slots: int, context: int = 2048, port: int = 0, timeout_s: float = 60.0
) -> AbstractAsyncContextManager[Endpoint]:
    """Run our front for the length of the block.

    Raises UsageError where the tiny model is missing and where no token comes back within `timeout_s`.
    """
    return launched(OllamaEmulator(log_dir, slots, context), log_dir, port=port, timeout_s=timeout_s)
