"""Start the Ollama emulator, Ollama's API over the embedded llama.cpp, as an engine."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.llama_cpp import EMBEDDED_START_S, MODEL_NAME, require_tiny
from gptoss_bench.engines.ollama import describe_ollama
from gptoss_client import Endpoint


@dataclass(frozen=True, slots=True)
class OllamaEmulator:
    """The emulator with `slots` requests at a time; as Ollama, it loads the model at the first request."""

    log_dir: Path
    slots: int
    context: int = 2048
    log_name: str = "ollama-front.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError if the tiny model is missing."""
        require_tiny()
        return Endpoint(url="", model=MODEL_NAME, dialect="ollama", engine="ollama", facts={"num_parallel": self.slots})

    def command(self, port: int) -> list[str]:
        """Return the command that runs the emulator with this Python."""
        options = {"port": port, "slots": self.slots, "context": self.context, "log-dir": self.log_dir}
        texts = [f"--{name}={value}" for name, value in options.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.ollama_emulator.server", *texts]

    def environment(self, port: int) -> dict[str, str]:
        """Return no additional variables."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """Return the endpoint with what the emulator reports as an Ollama; its version says what it is."""
        return await describe_ollama(http, endpoint)


def serve_emulator(
    log_dir: Path, *, slots: int, context: int = 2048, cores: str = ""
) -> AbstractAsyncContextManager[Endpoint]:
    """Run the emulator until the block ends.

    Raises UsageError where the tiny model is missing and where no token comes back within EMBEDDED_START_S.
    """
    return launched(OllamaEmulator(log_dir, slots, context), log_dir, timeout_s=EMBEDDED_START_S, cores=cores)
