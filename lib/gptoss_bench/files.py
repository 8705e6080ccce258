"""Write files: atomically, so that readers see the old or the new content, and with one line where it fails."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from gptoss_client import UsageError


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a path to write to; it replaces the target if the block raises nothing."""
    part = target.with_name(target.name + ".part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


@contextmanager
def writing(target: object, advice: str) -> Iterator[None]:
    """Raise UsageError with the reason and the advice if the block cannot write to the target."""
    try:
        yield
    except OSError as error:
        raise UsageError(f"cannot write to {target}: {error.strerror or error}; {advice}") from error


def write_json(target: Path, content: Any) -> None:
    """Write a JSON document. Raises ValueError on NaN and infinity; a missing number is null."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(target) as part:
        part.write_text(text + "\n", encoding="utf-8")
