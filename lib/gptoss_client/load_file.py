"""Read a file that a load is made from: when requests arrived, what they said, how long prompts and answers were.

The file is CSV, JSON Lines or a JSON array. The names of the columns are those of the published data sets: Azure's LLM
inference traces, BurstGPT, Mooncake, ShareGPT, and chats as lists of messages.
"""

import csv
import hashlib
import io
import json
import math
import os
from array import array
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import lru_cache
from itertools import pairwise
from pathlib import Path

from gptoss_client.errors import UsageError
from gptoss_client.lengths import MOST_LENGTH
from gptoss_client.outside import JsonValue, one_line

TIMES = ("timestamp", "timestamp_s", "timestamp_ms", "arrival_time", "arrived_at", "time")
TEXTS = ("prompt", "text", "input_text", "question", "instruction")
CHATS = ("messages", "conversations", "conversation")
INPUT_TOKENS = (
    *("input_tokens", "input_length", "input_len", "prompt_tokens", "prompt_len"),
    *("contexttokens", "request_tokens"),
)
OUTPUT_TOKENS = (
    *("output_tokens", "output_length", "output_len", "max_tokens", "completion_tokens", "expected_output_len"),
    *("generatedtokens", "response_tokens"),
)
_ROLES = {
    **dict.fromkeys(("system", "developer"), "system"),
    **dict.fromkeys(("user", "human"), "user"),
    **dict.fromkeys(("assistant", "gpt", "chatgpt", "bing", "bard"), "assistant"),
}
_OF_MOONCAKE = {"input_length", "hash_ids"}  # beside these "timestamp" is in milliseconds
_FORMATS = "write a .csv with a header, or a .jsonl with one JSON object a line"

Row = Mapping[str, JsonValue]
Message = tuple[str, str]
"""Role ("system", "user" or "assistant") and text."""


@dataclass(frozen=True, slots=True)
class ArrivalTrace:
    """The arrivals of a file: seconds since the first of them, rising; and the SHA-256 of the file."""

    sha256: str
    offsets_s: "array[float]"


@dataclass(frozen=True, slots=True)
class PromptRow:
    """One row: its messages, the last of which is a question, and token counts.

    Without a text there are no messages, and `input_tokens` is how long a made-up prompt is to be. `turns` are what the
    user says in each turn of a conversation: all messages before the next answer. Answers of the file are not kept.
    """

    messages: tuple[Message, ...]
    input_tokens: int | None
    output_tokens: int | None
    turns: tuple[tuple[Message, ...], ...]


@dataclass(frozen=True, slots=True)
class PromptFile:
    """The prompts of a file, and its SHA-256."""

    sha256: str
    rows: tuple[PromptRow, ...]


def read_arrivals(path: str) -> ArrivalTrace:
    """Read when requests arrived. The result is kept until the file changes.

    The column has one of the names TIMES, in any case: numbers are seconds (milliseconds in `timestamp_ms`, and in
    Mooncake's traces), texts are ISO times, without a zone in UTC.

    Raises UsageError, with the line, for a file that cannot be read, and for a time that is missing, not finite,
    negative or before that of the line above.
    """
    return _arrivals(*_identity(path))


def read_prompts(path: str) -> PromptFile:
    """Read the prompts of a file. The result is kept until the file changes.

    A row has a text in a column of TEXTS, or a list of messages in one of CHATS (role and content, or ShareGPT's from
    and value). A list that ends with the user is sent as it is; of one that ends with an answer only what is said up to
    the first question, and a chat without a question is left out. Its `turns` are those of the whole chat. A row
    without a text has the number of its tokens in a column of INPUT_TOKENS, and no turns. A column of OUTPUT_TOKENS is
    the token limit of the answer.

    Raises UsageError, with the line, for a file or a row that cannot be used.
    """
    return _prompts(*_identity(path))


def _identity(path: str) -> tuple[str, int, int]:
    """Return what changes when a file changes: path, time and size."""
    try:
        status = os.stat(path)
    except (OSError, ValueError) as error:
        raise UsageError(f"cannot read {one_line(path) or 'a file without a name'}: {_why(error)}") from None
    return path, status.st_mtime_ns, status.st_size


def _why(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


@lru_cache(maxsize=4)
def _arrivals(path: str, _changed_ns: int, _size: int) -> ArrivalTrace:
    data = _content(path)
    offsets_s, first, last_line = array("d"), 0.0, 0
    name = Path(path).name
    for line, row in rows(name, data):
        column = next((one for one in TIMES if row.get(one) not in (None, "")), None)
        if column is None:
            found = ", ".join(list(row)[:8])
            raise UsageError(f"{name} line {line} has no time: name its column {' or '.join(TIMES[:3])}, not {found}")
        at_s = _seconds(row[column], in_ms=column == "timestamp_ms" or (column == TIMES[0] and _is_of_mooncake(row)))
        if at_s is None:
            raise UsageError(
                f"{name} line {line}: {column} {one_line(str(row[column]), 40)!r} is no time: "
                "write seconds from 0 on, or an ISO time such as 2023-11-16 18:15:46.68"
            )
        first = first if offsets_s else at_s
        if offsets_s and at_s - first < offsets_s[-1]:
            raise UsageError(f"{name} line {line}: its time is before that of line {last_line}: sort the file by time")
        offsets_s.append(at_s - first)
        last_line = line
    if not offsets_s:
        raise UsageError(f"{name} has no rows: {_FORMATS}")
    return ArrivalTrace(hashlib.sha256(data).hexdigest(), offsets_s)


@lru_cache(maxsize=4)
def _prompts(path: str, _changed_ns: int, _size: int) -> PromptFile:
    data = _content(path)
    name = Path(path).name
    found = [one for line, row in rows(name, data) if (one := _prompt_row(f"{name} line {line}", row)) is not None]
    if not found:
        raise UsageError(f"{name} has no prompts: {_FORMATS}")
    return PromptFile(hashlib.sha256(data).hexdigest(), tuple(found))


def _prompt_row(where: str, row: Row) -> PromptRow | None:
    """Return the prompt of a row; None for a chat in which the user says nothing."""
    column = next((one for one in (*TEXTS, *CHATS) if row.get(one) not in (None, "")), None)
    prompt, answer = (_tokens(where, row, names) for names in (INPUT_TOKENS, OUTPUT_TOKENS))
    if column is None:
        if prompt is None:
            named = ", ".join(list(row)[:8])
            raise UsageError(f"{where} has no prompt: name its column prompt, messages or input_tokens, not {named}")
        return PromptRow((), prompt, answer, ())
    said = _messages(where, column, row[column])
    asked = [number for number, (role, _) in enumerate(said) if role == "user"]
    if not asked:
        return None
    end = asked[0] if said[-1][0] == "assistant" else asked[-1]
    begin = asked[0] if said[0][0] == "assistant" else 0  # ShareGPT has chats that begin in their middle
    return PromptRow(tuple(said[begin : end + 1]), prompt, answer, _turns(said[begin : asked[-1] + 1]))


def _turns(said: Sequence[Message]) -> tuple[tuple[Message, ...], ...]:
    """Return what the user says in each turn: the messages up to the next answer, with what precedes a question."""
    found = list[tuple[Message, ...]]()
    turn = list[Message]()
    for message, after in pairwise((*said, ("assistant", ""))):
        if message[0] != "assistant":
            turn.append(message)
        if after[0] == "assistant" and any(role == "user" for role, _ in turn):
            found.append(tuple(turn))
            turn = []
    return tuple(found)


def _messages(where: str, column: str, value: JsonValue) -> list[Message]:
    """Return the messages of a chat, or a text as the one message of the user."""
    if isinstance(value, str):
        return [("user", _encodable(where, column, value))]
    found = []
    for entry in value if isinstance(value, list) else [value]:
        if not isinstance(entry, dict):
            raise UsageError(f"{where}: {column} must be a text or a list of messages")
        role, text = entry.get("role", entry.get("from")), entry.get("content", entry.get("value"))
        if not isinstance(role, str) or role not in _ROLES or not isinstance(text, str):
            raise UsageError(
                f"{where}: each message in {column} needs a role ({', '.join(_ROLES)}) and a text: "
                f"not {one_line(json.dumps(role), 30)} and {type(text).__name__}"
            )
        found.append((_ROLES[role], _encodable(where, column, text)))
    return found


def _encodable(where: str, column: str, text: str) -> str:
    try:
        text.encode()
    except UnicodeEncodeError:
        raise UsageError(f"{where}: {column} has half of a surrogate pair: UTF-8 cannot hold it") from None
    return text


def _tokens(where: str, row: Row, names: tuple[str, ...]) -> int | None:
    """Return the number of tokens in one of these columns; None if there is none."""
    column = next((one for one in names if row.get(one) not in (None, "")), None)
    if column is None:
        return None
    try:
        found = float(str(row[column]))
    except ValueError:
        found = math.nan
    if not 1 <= found <= MOST_LENGTH or found != int(found):
        shown = one_line(str(row[column]), 40)
        raise UsageError(f"{where}: {column} {shown!r} must be a whole number from 1 on: leave such rows out")
    return int(found)


def _is_of_mooncake(row: Row) -> bool:
    return not _OF_MOONCAKE.isdisjoint(row)


def _seconds(value: JsonValue, *, in_ms: bool) -> float | None:
    """Return a time in seconds; None if it is none."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        found = float(value) / (1e3 if in_ms else 1)
    except (ValueError, OverflowError):
        try:
            at = datetime.fromisoformat(str(value).strip())
        except ValueError:
            return None
        found = (at if at.tzinfo else at.replace(tzinfo=UTC)).timestamp()
    return found if math.isfinite(found) and found >= 0 else None


def _content(path: str) -> bytes:
    try:
        return Path(path).read_bytes()
    except OSError as error:
        raise UsageError(f"cannot read {one_line(path)}: {_why(error)}") from None


def rows(name: str, data: bytes) -> Iterator[tuple[int, Row]]:
    """Yield the rows of a file, each with its line (of a JSON array: its number), column names in lower case.

    Args:
        name: Name of the file; one that ends in .csv is read as CSV, any other as JSON.
        data: Its content.

    Raises UsageError, with the line, for what is no row.
    """
    if name.lower().endswith(".parquet"):
        raise UsageError(
            f"{name} is Parquet: convert it with pandas.read_parquet(…).to_json(…, orient='records', lines=True)"
        )
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise UsageError(f"{name} line {line} is not UTF-8: {_FORMATS}") from None
    found = _csv_rows(name, text) if name.lower().endswith(".csv") else _json_rows(name, text)
    for line, row in found:
        yield line, {"_".join(str(key).lower().split()): value for key, value in row.items()}


def _csv_rows(name: str, text: str) -> Iterator[tuple[int, Row]]:
    reader = csv.DictReader(io.StringIO(text, newline=""), strict=True)
    try:
        for row in reader:
            if None in row or None in row.values():
                raise UsageError(f"{name} line {reader.line_num} has not as many fields as the header")
            yield reader.line_num, row
    except csv.Error as error:
        raise UsageError(f"{name} line {reader.line_num + 1} is no CSV ({error}): {_FORMATS}") from None


def _json_rows(name: str, text: str) -> Iterator[tuple[int, Row]]:
    numbered: Iterator[tuple[int, JsonValue]]
    if text.lstrip().startswith("["):
        entries = _json(name, 1, text)
        numbered = iter(enumerate(entries if isinstance(entries, list) else [], 1))
    else:
        lines = enumerate(text.split("\n"), 1)
        numbered = ((line, _json(name, line, one)) for line, one in lines if one.strip())
    for line, row in numbered:
        if not isinstance(row, dict):
            raise UsageError(f"{name} line {line} is no JSON object: {_FORMATS}")
        yield line, row


def _json(name: str, line: int, text: str) -> JsonValue:
    try:
        found: JsonValue = json.loads(text)
    except (ValueError, RecursionError) as error:
        why = error.msg if isinstance(error, json.JSONDecodeError) else "nested too deeply, or a number too large"
        line += error.lineno - 1 if isinstance(error, json.JSONDecodeError) else 0
        raise UsageError(f"{name} line {line} is no JSON ({why}): {_FORMATS}") from None
    return found
