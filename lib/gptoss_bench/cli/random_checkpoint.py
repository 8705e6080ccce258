"""`gptoss-bench random-checkpoint`: write a checkpoint with the tensors of a real model and random weights."""

from pathlib import Path
from typing import Annotated

import typer

from gptoss_client import UsageError

EXAMPLE = """examples:
  gptoss-bench random-checkpoint gpt-oss-20b build/random/gpt-oss-20b
  gptoss-bench random-checkpoint gpt-oss-20b build/random/two-layers --layers 2
  gptoss-bench random-checkpoint gpt-oss-20b build/random/gpt-oss-20b --gguf gpt-oss-20b-random-weights.gguf
  vllm serve build/random/gpt-oss-20b --served-model-name gpt-oss-20b

Names, shapes, dtypes, vocabulary and config are those of the model; kernels, bytes and schedulers do not depend on
the values of weights. Embedding and head are built so that every answer is well-formed harmony and has words without
end: it stops at the requested number of tokens. The answers mean nothing, and experts are chosen about evenly.
config.json says that the weights are random, and every run with them is labelled RANDOM WEIGHTS. The tokenizer is
rebuilt from the package oss-harmony, or copied from --tokenizer. 13.8 GB for gpt-oss-20b, 65.2 GB for gpt-oss-120b,
and the same again for --gguf, which also converts a folder that was made before; no GPU is needed. Serve a GGUF file
under a name with random-weights in it: llama.cpp reports nothing else of it."""


def random_checkpoint(
    *,
    model: Annotated[str, typer.Argument(help="gpt-oss-20b, gpt-oss-120b, a folder or a config.json")],
    folder: Annotated[Path, typer.Argument(help="new folder for the checkpoint")],
    layers: Annotated[int | None, typer.Option(help="only so many layers, for a test")] = None,
    dtype: Annotated[str, typer.Option(help="mxfp4 or bf16 (vLLM needs bf16 on a CPU)")] = "mxfp4",
    tokenizer: Annotated[
        Path | None, typer.Option(metavar="FOLDER", help="copy the tokenizer of gpt-oss from this folder")
    ] = None,
    gguf: Annotated[
        Path | None,
        typer.Option(metavar="FILE", help="write the same weights to this .gguf file too, for llama.cpp and Ollama"),
    ] = None,
    seed: Annotated[int, typer.Option(min=0, help="of the random weights")] = 0,
) -> int:
    """Write a checkpoint with the tensors of a real model and random weights."""
    from gptoss_bench.memory import has_random_weights, read_model, require_torch, with_layers, write_random_checkpoint

    converts = gguf is not None and has_random_weights(folder)
    if not converts and (folder.is_file() or (folder.is_dir() and any(folder.iterdir()))):
        raise UsageError(f"{folder} is not empty: name a new folder")
    if gguf and (gguf.suffix != ".gguf" or dtype != "mxfp4"):
        raise UsageError(f"--gguf {gguf}: the name must end in .gguf, and the dtype must be mxfp4")
    require_torch(*(() if gguf else ("transformers",)))
    from gptoss_bench.tiny_model import write_speaking_tokenizer  # imports tokenizers, a part of transformers

    architecture = with_layers(read_model(model).architecture, layers)
    if not converts:
        partial = folder.with_name(f"{folder.name}.partial")
        speech = write_speaking_tokenizer(partial, tokenizer, seed)
        written = write_random_checkpoint(architecture, partial, dtype, seed=seed, speech=speech)
        if folder.is_dir():
            folder.rmdir()
        partial.rename(folder)
        print(
            f"{folder}: {written:,} bytes of random weights, {dtype.upper()}, {architecture.num_hidden_layers} layers"
        )
    if gguf:
        from gptoss_bench.runs import RANDOM_NAME
        from gptoss_bench.tiny_model import write_checkpoint_gguf  # imports torch

        write_checkpoint_gguf(folder, gguf, f"{architecture.name} {RANDOM_NAME}")
        print(f"{gguf}: {gguf.stat().st_size:,} bytes")
    return 0
