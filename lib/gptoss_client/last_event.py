"""Find when the last event of a response arrived, without decoding: what is between events holds no request open.

Comments of SSE, blank lines and unfinished lines are no events; gateways send these while a request waits.
"""

from bisect import bisect_right
from collections.abc import Sequence

from gptoss_client.arrivals import Read


class LastEvent:
    """The end of the last event that was found so far, in a response that is still being read.

    `read_ns` is the time of the read that completed it, None before the first event. Each byte is scanned once, except
    for those of an unfinished line.
    """

    __slots__ = ("_line", "_parts", "_start", "read_ns")

    def __init__(self) -> None:
        self.read_ns: int | None = None
        self._parts = 0  # parts of the body that were scanned
        self._line = b""  # the unfinished line behind them
        self._start = b""  # of the body, as far as it shows the format

    def look(self, parts: Sequence[bytes], reads: Sequence[Read]) -> None:
        """Scan the parts that arrived since the last call."""
        found = b"".join(parts[self._parts :])
        if not found:
            return
        body, known = self._line + found, len(self._line)
        self._start = self._start or body.lstrip(b"\xef\xbb\xbf\r\n\t ")[:1]
        if end := _end_of_last_line(body) if self._start == b"{" else _end_of_last_data(body):
            end -= known
            at = self._parts
            while end > len(parts[at]):
                end -= len(parts[at])
                at += 1
            self.read_ns = reads[bisect_right(reads, at, key=lambda read: read[2])][1]
        self._parts = len(parts)
        self._line = body[max(body.rfind(b"\n"), body.rfind(b"\r")) + 1 :]


def _end_of_last_line(body: bytes) -> int:
    """Return the offset behind the line break of the last line that is not blank, 0 if there is none."""
    line = body[: max(body.rfind(b"\n"), body.rfind(b"\r")) + 1].rstrip()
    return len(line) + 1 if line else 0


def _end_of_last_data(body: bytes) -> int:
    """Return the offset behind the line break of the last line `data:` that has a value, 0 if there is none."""
    at = len(body)
    while (at := body.rfind(b"data:", 0, at)) >= 0:
        if at and body[at - 1 : at] not in (b"\n", b"\r"):
            continue
        ends = [end for end in (body.find(b"\n", at), body.find(b"\r", at)) if end > 0]
        if ends and body[at + 5 : min(ends)].strip():
            return min(ends) + 1
    return 0
