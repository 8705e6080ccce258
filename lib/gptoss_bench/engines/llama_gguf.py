"""Launch llama.cpp's server with a GGUF file of the user."""

import sys
from dataclasses import dataclass
from pathlib import Path
from shutil import which

import httpx

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.llama_cpp import describe_llama
from gptoss_bench.engines.process import LOOPBACK
from gptoss_bench.paths import BUILD
from gptoss_bench.runs import package_version
from gptoss_client import Endpoint, UsageError

WHEEL_CONTEXT = 2048


@dataclass(frozen=True, slots=True)
class LlamaServer:
    """`llama-server` with the GGUF file `model`, else the llama.cpp of the package xllamacpp, which has no GPU code.

    `context` is that of one slot; None is the program's default, and 2048 with xllamacpp. `flags` are appended
    unchanged, and only `llama-server` takes some.
    """

    model: str
    slots: int = 1
    context: int | None = None
    flags: tuple[str, ...] = ()
    log_name: str = "llama-server.log"
    cwd: Path | None = None

    @classmethod
    def from_choice(cls, server: ServerChoice, slots: int) -> "LlamaServer":
        """Return the engine with the model, context and flags of `server`."""
        return cls(server.model, slots, server.context or None, server.arguments)

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError for a model that is no GGUF file, and for flags without a program."""
        if Path(self.model).suffix != ".gguf" or not Path(self.model).is_file():
            raise UsageError(f"llama.cpp needs a GGUF file: {self.model or 'no model'} is none")
        program = _program()
        if program is None and self.flags:
            raise UsageError(f"llama-server is not on PATH, and xllamacpp takes no flags: {' '.join(self.flags)}")
        return Endpoint(
            url="",
            model=Path(self.model).stem,
            dialect="openai",
            engine="llama.cpp",
            version=None if program else f"xllamacpp {package_version('xllamacpp')}",
            keep_alive=False,
        )

    def command(self, port: int) -> list[str]:
        """Return the command line of the program, or of `llama_server` with this Python."""
        file, alias = str(Path(self.model).resolve()), Path(self.model).stem
        program = _program()
        if program is None:
            sizes = {"port": port, "alias": alias, "slots": self.slots, "context": self.context or WHEEL_CONTEXT}
            texts = [f"--{name}={value}" for name, value in sizes.items()]
            return [sys.executable, "-m", "gptoss_bench.engines.llama_server", file, *texts]
        sized = [] if self.context is None else ["--ctx-size", str(self.context * self.slots)]
        address = ["--host", LOOPBACK, "--port", str(port), "--parallel", str(self.slots)]
        return [program, "--model", file, "--alias", alias, *address, *sized, "--jinja", "--metrics", *self.flags]

    def environment(self, port: int) -> dict[str, str]:
        """Return no additional variables."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """Return the endpoint with what llama.cpp reports."""
        return await describe_llama(http, endpoint)


def _program() -> str | None:
    return which("llama-server") or which("llama-server", path=BUILD / "llama.cpp" / "bin")
