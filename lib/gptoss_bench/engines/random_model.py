"""Make the model with random weights that `random:NAME` names, before an engine serves it."""

import asyncio
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Self

from gptoss_bench.engines.ollama_models import add_model
from gptoss_bench.memory import architectures, with_layers
from gptoss_bench.paths import RANDOM_CHECKPOINTS
from gptoss_bench.runs import RANDOM_NAME, installed_gpus
from gptoss_client import UsageError

RANDOM_PREFIX = "random:"
_NAME = re.compile(r"(?:openai/)?(?P<name>.+?)(?:-(?P<layers>\d{1,9})-layers)?")


@dataclass(frozen=True, slots=True)
class RandomModel:
    """A model of the catalogue with random weights; `layers` None is all of them."""

    name: str
    layers: int | None = None

    @classmethod
    def parse(cls, model: str) -> Self | None:
        """Return what `random:NAME` or `random:NAME-N-layers` names; None for any other model.

        Raises UsageError for a name that the catalogue does not have, and for more layers than it has.
        """
        if not model.startswith(RANDOM_PREFIX):
            return None
        found = _NAME.fullmatch(model.removeprefix(RANDOM_PREFIX))
        architecture = architectures()[found["name"] if found else ""]
        layers = int(found["layers"]) if found and found["layers"] else None
        with_layers(architecture, layers)
        return cls(architecture.name, layers)

    def folder(self, dtype: str = "mxfp4") -> Path:
        """Return the folder of its checkpoint."""
        layers = f"-{self.layers}-layers" if self.layers else ""
        return RANDOM_CHECKPOINTS / (self.name + layers + ("" if dtype == "mxfp4" else f"-{dtype}"))

    @property
    def gguf(self) -> Path:
        """Return its GGUF file. The name says what it is: llama.cpp and Ollama report nothing else of that."""
        return RANDOM_CHECKPOINTS / f"{self.folder().name}-{RANDOM_NAME}.gguf"


async def resolve_model(engine: str, model: str) -> str:
    """Return a model's name; `random:NAME` is made if it is missing, and returned as what `engine` loads.

    That is a folder with a checkpoint, the GGUF file (llama.cpp), or a model that Ollama has. Without a GPU the weights
    of a folder are BF16: vLLM has no MXFP4 kernels for a CPU. Raises UsageError for an unknown name, and for a model
    that cannot be made.
    """
    random = RandomModel.parse(model)
    if random is None:
        return model
    if engine not in ("ollama", "llama.cpp"):
        return str(await _made_folder(random, "mxfp4" if installed_gpus() else "bf16"))
    if not random.gguf.is_file():
        await _make_gguf(random)
    if engine == "llama.cpp":
        return str(random.gguf)
    await add_model(random.gguf.stem, random.gguf)
    return random.gguf.stem


async def _made_folder(random: RandomModel, dtype: str, *more: str) -> Path:
    folder = random.folder(dtype)
    if more or not (folder / "config.json").is_file():
        layers = ["--layers", str(random.layers)] if random.layers else []
        await _make("random-checkpoint", random.name, str(folder), "--dtype", dtype, *layers, *more)
    return folder


async def _make_gguf(random: RandomModel) -> None:
    """Make the GGUF file; a checkpoint that is made for it alone is removed again."""
    kept = (random.folder() / "config.json").is_file()
    folder = await _made_folder(random, "mxfp4", "--gguf", str(random.gguf))
    if not kept:
        shutil.rmtree(folder)


async def _make(*arguments: str) -> None:
    """Run a command of the kit in a process of its own, which keeps its memory out of the one that measures."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "gptoss_bench",
        *arguments,
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        _, error = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode:
        line = error.decode(errors="replace").strip().rpartition("\n")[2].removeprefix("gptoss_bench: ")
        raise UsageError(line or f"gptoss-bench {' '.join(arguments)} ended with exit code {process.returncode}")
