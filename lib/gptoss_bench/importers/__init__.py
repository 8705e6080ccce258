"""Results that other tools wrote, read into this kit's names, so that the same rules can judge them. Pure."""

import json
from typing import Any

from gptoss_bench.errors import UsageError
from gptoss_bench.importers import (
    aiperf_files,
    guidellm_json,
    llama_bench,
    ollama_verbose,
    printed_block,
    vllm_bench,
)
from gptoss_bench.importers.imported import Imported

KNOWN = (
    "the write-up's printed block, vllm bench serve --save-result, guidellm JSON, aiperf JSON and JSONL, "
    "llama-bench JSON and JSONL, and the text of ollama run --verbose"
)


def parse(text: str, name: str) -> list[Imported]:
    """The results in a file of this text, one or more; which tool wrote it is seen from what is in it.

    Raises UsageError where it is none that is known, or lacks what such a file has; `name` is the file's.
    """
    content, lines = _json(text)
    try:
        found = [
            *_one(vllm_bench.parse(content)),
            *guidellm_json.parse(content),
            *_one(aiperf_files.parse(content)),
            *_one(aiperf_files.parse_lines(lines)),
            *llama_bench.parse(lines or content),
            *_one(printed_block.parse(text)),
            *_one(ollama_verbose.parse(text)),
        ]
    except (KeyError, TypeError, ValueError, AttributeError, IndexError) as error:
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UsageError(
            f"{name} lacks what a file of its tool has ({words}): was it cut, or is it of a new version?"
        ) from error
    if not found:
        raise UsageError(f"{name} is no result that can be read: give a run folder, or {KNOWN}")
    return found


def _json(text: str) -> tuple[Any, list[Any]]:
    """The whole text as JSON, or its lines as JSON each; (None, []) where it is neither."""
    try:
        return json.loads(text), []
    except ValueError:
        pass
    try:
        return None, [json.loads(line) for line in text.splitlines() if line.strip()]
    except ValueError:
        return None, []


def _one(found: Imported | None) -> list[Imported]:
    return [] if found is None else [found]
