"""Versions of the engines that this kit was tried with. Another one is used all the same, and the run says so."""

import re

# vLLM: run on a CPU. llama.cpp: the embedded one. transformers: run on a CPU. Ollama: its source was read, not run.
TRIED = {
    "vllm": ("0.32",),
    "transformers": ("5.23", "5.24"),
    "ollama": ("0.11", "0.12", "0.24", "0.30", "0.33"),
}


def version_note(engine: str, version: str | None) -> list[str]:
    """A sentence where the engine's version is not known or is none of those tried; nothing else."""
    tried = TRIED.get(engine)
    if tried is None:
        return []
    shown = ", ".join(f"{release}.x" for release in tried)
    if version is None:
        return [f"{engine} does not tell its version; this kit was tried with {shown}"]
    release = re.match(r"v?(\d+\.\d+)", version)
    if release and release[1] in tried:
        return []
    return [f"{engine} {version} is none of the versions that this kit was tried with ({shown}): names may differ"]
