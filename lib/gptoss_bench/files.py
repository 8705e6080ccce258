"""Write files atomically, and read files of unknown origin: what fails is one line, and links are not followed."""

import errno
import json
import math
import os
import re
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from gptoss_client import JsonValue, UsageError, hide_key, one_line, parse_json

NO_FOLLOW = "it is a link, which is not followed"
NO_FILE = "it is no regular file"
RESTORE = "restore the file as the kit wrote it"


def open_own(file: Path, mode: str, **options: Any) -> IO[Any]:
    """Open a file of a folder of unknown origin, as `open` does. Raises OSError for a link and for what is no file."""

    def opener(name: str, flags: int) -> int:
        # Without blocking, because a pipe that nobody writes to would be opened for good.
        number = os.open(name, flags | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0), 0o666)
        if not stat.S_ISREG(os.fstat(number).st_mode):
            os.close(number)
            raise OSError(errno.EINVAL, NO_FILE, name)
        return number

    try:
        return open(file, mode, opener=opener, **options)
    except OSError as error:
        if error.errno == errno.ELOOP:
            raise OSError(errno.ELOOP, NO_FOLLOW, str(file)) from None
        raise


@contextmanager
def replacing(target: Path) -> Iterator[Path]:
    """Yield a new, empty file to write to; it replaces the target, also a link, if the block raises nothing."""
    part = target.with_name(target.name + ".part")
    part.unlink(missing_ok=True)  # of a process that was killed
    os.close(os.open(part, os.O_CREAT | os.O_EXCL | os.O_WRONLY, 0o666))
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


@contextmanager
def reading(file: Path, advice: str = RESTORE) -> Iterator[None]:
    """Raise UsageError with the reason and the advice if the block cannot read the file, or if it is a link or no file.

    Decoders of damaged files raise many kinds of exceptions.
    """
    try:
        if file.is_symlink():
            raise ValueError(NO_FOLLOW)
        if file.exists() and not file.is_file():
            raise ValueError(NO_FILE)
        yield
    except UsageError:
        raise
    except Exception as error:
        reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
        raise UsageError(f"cannot read {one_line(str(file))}: {one_line(reason, 200)}; {advice}") from error


def read_json(file: Path, advice: str = RESTORE) -> JsonValue:
    """Return the JSON document in a file, with printable texts and finite numbers. Raises UsageError."""
    with reading(file, advice), open_own(file, "rb") as content:
        return parse_json(content.read())


def write_json(target: Path, content: Any) -> None:
    """Write a JSON document without the API key; a number that is not finite is null."""
    try:
        text = json.dumps(content, indent=1, ensure_ascii=False, allow_nan=False)
    except ValueError:
        text = json.dumps(_finite(content), indent=1, ensure_ascii=False, allow_nan=False)
    text = re.sub("[\ud800-\udfff]", lambda half: rf"\\u{ord(half[0]):04x}", hide_key(text))
    with replacing(target) as part:
        part.write_text(text + "\n", encoding="utf-8")


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(one) for name, one in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(one) for one in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
