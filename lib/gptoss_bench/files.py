"""Write a file in one step: whoever reads it finds the old one or the new one, never a half."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield the path to write to; it takes the target's place when the block ends well."""
    part = target.with_name(target.name + ".part")
    try:
        yield part
        os.replace(part, target)
    finally:
        part.unlink(missing_ok=True)


def write_json(target: Path, content: Any) -> None:
    """Write a JSON document. Raises ValueError on NaN and infinity: a missing number is null."""
    text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    with replacing(target) as part:
        part.write_text(text + "\n", encoding="utf-8")
