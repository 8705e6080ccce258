"""Learn from the bytes of one event a pattern that reads the similar events of a stream.

A server writes each event of a stream in the same words; only the text, a few counts and stamps differ. A shape is
learnt from an event that `wire` has decoded, and proved by having `wire` decode another event that it matches. What
it matches is thus an event that `wire` would read in the same way; what it does not match is left to `wire`.
"""

import json
import re
from dataclasses import dataclass, replace
from typing import Self

from gptoss_bench.runs.event_tokens import count_so_far
from gptoss_client import Event, decode_body

_TOKEN = re.compile(rb'("(?:[^"\\\x00-\x1f]|\\.)*")(\s*:)?|(-?[0-9][0-9.eE+-]*)', re.DOTALL)
_MESSAGE = {"sse": re.compile(rb"data: ?\{[^\r\n]*\}\n\n"), "json": re.compile(rb"\{[^\r\n]*\}\n")}
_TEXTS = {b"content", b"text", b"response", b"reasoning", b"reasoning_content", b"thinking"}
# of the letters of JSON text no quote, and no backslash that opens no escape; at least one of them
_TEXT = rb'"(?P<text>(?!")[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+)"'
_LABEL = rb'"[ !#-\[\]-~]*+"'
# Bounded, so that every number in these forms is one that `wire` takes: a count below 2**31, a duration below 1e18.
_COUNT = rb"(?:0|[1-9][0-9]{0,8})"
_REAL = rb"(?:0|[1-9][0-9]{0,16})(?:\.[0-9]{1,30})?(?:e-[0-9]{1,2})?"
# Values that may differ between events of one shape; those of all other keys are part of it.
_FORMS = {
    **dict.fromkeys((b"id", b"created_at"), _LABEL),
    **dict.fromkeys((b"prompt_tokens", b"completion_tokens", b"total_tokens"), _COUNT),
    **dict.fromkeys((b"reasoning_tokens", b"cached_tokens", b"cache_n", b"prompt_n", b"predicted_n"), _COUNT),
    **dict.fromkeys((b"created", b"prompt_ms", b"prompt_per_token_ms", b"prompt_per_second"), _REAL),
    **dict.fromkeys((b"predicted_ms", b"predicted_per_token_ms", b"predicted_per_second"), _REAL),
}
_COUNTED = (b"completion_tokens", b"predicted_n")  # the running count of tokens, by precedence
_STEADY = {b"id", b"created"}
_PROBE = (rb"\n\u00e9 probe", "\né probe")  # a text, as it is written and as it reads


@dataclass(frozen=True, slots=True)
class Shape:
    """`pattern` matches one whole event, its end mark included: group `text`, and group `count` where `counted`.

    `example` is the event that it was learnt from, and `reasoning` says whose text the text is. `alike`: all events
    of this shape say the same but for their text. `repeats`: in one stream they are mostly the same bytes but for it.
    """

    pattern: re.Pattern[bytes]
    example: Event
    reasoning: bool
    counted: bool
    alike: bool
    repeats: bool

    @classmethod
    def of(cls, message: bytes, form: str) -> Self | None:
        """Return the shape of one event of a body in this form ("sse" or "json"); None if no shape is certain."""
        if not _MESSAGE[form].fullmatch(message):
            return None
        (example,) = decode_body([message])
        if example.kind != "output" or example.tool or bool(example.answer) == bool(example.reasoning):
            return None
        keys = [match[1].strip(b'"') for match in _TOKEN.finditer(message) if match[2]]
        counter = next((key for key in _COUNTED if key in keys), None)
        pattern, probe, varied = _pattern(message, example.answer or example.reasoning, counter)
        repeats = varied <= _STEADY and b"(?P=text)" not in pattern.pattern
        alike = varied <= _STEADY | {b"created_at"}
        shape = cls(pattern, example, bool(example.reasoning), "count" in pattern.groupindex, alike, repeats)
        return shape if pattern.fullmatch(message) and shape._reads(probe) else None

    def saying(self, text: str, event: Event) -> Event:
        """Return this event with another text."""
        return replace(event, reasoning=text) if self.reasoning else replace(event, answer=text)

    def run(self, body: bytes, at: int) -> tuple[list[bytes], list[int], list[int]]:
        """Return the events from here on that have this shape: raw text, end and token count of each.

        The texts may hold control characters, which JSON forbids and `wire` has words for.
        """
        texts, ends, counts = list[bytes](), list[int](), list[int]()
        while match := self.pattern.match(body, at):
            first, last = match.span("text")
            head, at = body[at:first], match.end()
            texts.append(body[first:last])
            ends.append(at)
            if self.counted:
                counts.append(int(match["count"]))
            if not self.repeats:
                continue
            tail, ahead, behind = body[last:at], len(head), at - last
            while body.startswith(head, at):
                last = body.find(b'"', at + ahead)
                text = body[at + ahead : last]
                if not text or not body.startswith(tail, last) or b"\\" in text:
                    break
                at = last + behind
                texts.append(text)
                ends.append(at)
        return texts, ends, counts

    def _reads(self, probe: bytes) -> bool:
        """Return whether the decoder reads another event of this shape as the shape does."""
        match = self.pattern.fullmatch(probe)
        if match is None or "text" not in self.pattern.groupindex:
            return False
        (seen,) = decode_body([probe])
        expected = self.saying(_PROBE[1], self.example)
        count = int(match["count"]) if self.counted else None
        return count_so_far(seen) == count and _outline(seen) == _outline(expected)


def _pattern(message: bytes, said: str, counter: bytes | None) -> tuple[re.Pattern[bytes], bytes, set[bytes]]:
    """Return the pattern, another event that it must match, and the keys whose values may differ."""
    pattern, probe, varied = b"", b"", set[bytes]()
    key, at = b"", 0
    for match in _TOKEN.finditer(message):
        between, token = message[at : match.start()], match[0]
        at = match.end()
        form, other = re.escape(token), token
        named = b"" if match[2] or between.strip() else key
        if match[1] and named in _TEXTS and json.loads(token) == said:
            form, other = (rb'"(?P=text)"' if b"(?P<text>" in pattern else _TEXT), b'"%b"' % _PROBE[0]
        elif named in _FORMS:
            form, other = _FORMS[named], b'"probe"' if match[1] else b"%d" % (100 + len(varied))
            form = b"(?P<count>%b)" % form if named == counter and counter not in varied else form
            varied.add(named)
        pattern += re.escape(between) + form
        probe += between + other
        key = match[1].strip(b'"') if match[2] else b""
    return re.compile(pattern + re.escape(message[at:])), probe + message[at:], varied


def _outline(event: Event) -> tuple[object, ...]:
    """Return the content of the event and the numbers in it."""
    said = (event.kind, event.answer, event.reasoning, event.tool, event.finish_reason, event.error, event.ended)
    stated = (event.prompt_tokens, event.completion_tokens, event.reasoning_tokens, event.cached_tokens, event.timings)
    return (*said, event.token_ids, *(number is None for number in stated))
