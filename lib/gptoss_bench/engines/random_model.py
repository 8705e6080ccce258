"""Make the checkpoint with random weights that `random:NAME` names, before an engine serves it."""

import asyncio
import sys

from gptoss_bench.memory import architectures
from gptoss_bench.paths import RANDOM_CHECKPOINTS
from gptoss_client import UsageError

RANDOM_PREFIX = "random:"
ENGINES = ("vllm", "transformers")  # those that load a safetensors checkpoint


async def resolve_model(engine: str, model: str) -> str:
    """Return a model's name, and for `random:NAME` the folder with its checkpoint, which is made if it is missing.

    Raises UsageError for an engine that cannot load it, an unknown name, and a checkpoint that cannot be made.
    """
    if not model.startswith(RANDOM_PREFIX):
        return model
    if engine not in ENGINES:
        raise UsageError(f"{model} is for {' and '.join(ENGINES)}, not for {engine or 'the embedded engine'}")
    name = architectures()[model.removeprefix(RANDOM_PREFIX).removeprefix("openai/")].name
    folder = RANDOM_CHECKPOINTS / name
    if not (folder / "config.json").is_file():
        await _make("random-checkpoint", name, str(folder))
    return str(folder)


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
