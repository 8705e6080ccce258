"""What a load sends and when: number of slots, number of requests or duration, prompts, limits, timeouts."""

import json
import math
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields
from difflib import get_close_matches
from itertools import count, islice, pairwise
from types import UnionType
from typing import get_args

from gptoss_client.errors import UsageError
from gptoss_client.lengths import parse_lengths, parse_seconds
from gptoss_client.load_file import read_arrivals, read_prompts
from gptoss_client.outside import JsonValue
from gptoss_client.schedule import ARRIVALS, arrival_offsets, parse_rate, replayed_offsets

PUBLISHED_PROMPT = "Explain quantum mechanics in one paragraph."
PUBLISHED_SYSTEM = "You are a helpful assistant."
PROMPTS = ("fixed", "distinct", "synthetic", "file")  # values of LoadPlan.prompts
SWEEP_PROMPTS = ("distinct", "same")  # values of LoadPlan.sweep_prompts
THINK = ("low", "medium", "high")  # values of LoadPlan.think
RESPONSE_LIMIT_MIB = 64  # holds a message of 500 bytes for each of 131,072 tokens, the context of gpt-oss
MOST = 2**53  # JSON carries whole numbers up to this one exactly
_LEAST = {
    "concurrency": 1,
    "requests": 1,
    "warmup": 0,
    "max_tokens": 1,
    "min_tokens": 0,
    "sweep_waves": 3,
    "response_limit_mib": 1,
    "max_in_flight": 1,
    "arrival_seed": 0,
}
_NUMBER_OR_TEXT = ("rate", "prompt_tokens", "output_tokens", "turns", "think_time")  # a number is kept as a text
_SHOWN_CHARS = 80  # of a wrong value, quoted in an error


@dataclass(frozen=True, slots=True)
class LoadPlan:
    """A closed loop: each of `concurrency` slots sends its next request as soon as its last one has ended.

    With `rate` it is an open loop: requests are due at times that do not depend on the server, "12" requests per second
    or a text for `schedule.parse_rate`. `arrivals` is "poisson", "constant" or "gamma" (with `burstiness`), drawn from
    `arrival_seed`. A request that is due while `max_in_flight` requests are in flight is not sent and fails as
    "over_limit". `concurrency` is then the number of slots of the warm-up and of connections that are opened ahead.

    With `replay`, the path of a trace (`load_file.read_arrivals`), it is an open loop whose requests are due at the
    times of the file, `replay_speed` times as fast. Without `requests` and `duration_s` the whole file is replayed. The
    plan sets `replay_sha256`, the hash of the file; a plan that has one refuses a file with another content.

    Set either `requests` or `duration_s`; after `duration_s` seconds no request is sent, and those in flight may end.
    `warmup` requests are sent first and recorded as a phase of their own.

    `prompts` is "fixed" (the same prompt for all requests), "distinct" (prompts of equal length that differ from
    the first word on, so that a prefix cache has no effect), "synthetic" (random words), or "file". Synthetic prompts
    have `prompt_tokens`, a text for `lengths.parse_lengths`, and begin with a common text, the share `prefix_share` of
    each; `tokens_per_word` is how many tokens of the model their words are on average. `prompts_file` is a file for
    `load_file.read_prompts`, whose rows are sent in their order, again from the begin after the last one; the plan sets
    `prompts_file_sha256`. `salt` is random for each plan: prompts are drawn from it, so that they differ between runs.
    With `turns`, a text for `lengths.parse_lengths`, requests are the turns of conversations: each is sent with what
    was said before, the server's own answers included. What the user says is a synthetic prompt in each turn, or that
    of a row of `prompts_file`, whose conversation has no more turns than the row. `requests` counts turns, and the last
    conversation is shorter if need be. A slot holds one conversation after another; in an open loop conversations
    arrive. With `duration_s` no conversation begins after so many seconds, and those that have begun go on to their
    end. `think_time`, a text for `lengths.parse_seconds`, is the time from the end of an answer to the next turn. A
    turn that fails ends its conversation: the others fail as "earlier_turn_failed". Warm-up requests are first turns.

    `output_tokens`, a text for `lengths.parse_lengths`, gives each request a token limit of its own in place of
    `max_tokens`, and so does a column of the file.

    `token_counts` asks for a running token count in every event, a small extra cost for the
    server. `think` is the reasoning effort for Ollama's own API, "low", "medium" or "high"; None: the server's, medium.
    `options` are additional fields of the request body; in Ollama's own API those of its field of this name.

    `timeout_s` limits a request from sending to its end, `connect_timeout_s` the opening of its connection,
    `first_timeout_s` the wait for the first event, `idle_timeout_s` each wait for a later one; comments and blank lines
    are no events. None: no limit.

    A response that is longer than `response_limit_mib` MiB fails, and the rest of it is not read.

    `sweep` lists rising concurrencies; the load is repeated at each of them afterwards, with `sweep_waves` requests
    per slot. `sweep_prompts` is "distinct": where the load has one prompt for all requests, those of the sweep
    are distinct, because with a warm prefix cache every level would be too fast, and not all by the same factor; or
    "same": the prompts of the load.

    A single number may be given as a number where a text describes an amount: `rate=20` is `rate="20"`, and so with
    `prompt_tokens`, `output_tokens`, `turns` and `think_time`.

    Raises UsageError if a value is not valid.
    """

    concurrency: int = 8
    rate: str | None = None
    arrivals: str = "poisson"
    burstiness: float = 1.0
    arrival_seed: int = 0
    max_in_flight: int = 1024
    replay: str | None = None
    replay_speed: float = 1.0
    replay_sha256: str | None = None
    requests: int | None = 48
    duration_s: float | None = None
    warmup: int = 0
    prompt: str = PUBLISHED_PROMPT
    system: str | None = PUBLISHED_SYSTEM
    prompts: str = "fixed"
    prompts_file: str | None = None
    prompts_file_sha256: str | None = None
    prompt_tokens: str | None = None
    prefix_share: float = 0.0
    tokens_per_word: float = 1.0
    turns: str | None = None
    think_time: str | None = None
    salt: int = field(default_factory=lambda: secrets.randbelow(10**6))
    max_tokens: int = 256
    output_tokens: str | None = None
    temperature: float = 0.0
    ignore_eos: bool = False
    min_tokens: int | None = None
    token_counts: bool = False
    timeout_s: float = 600.0
    connect_timeout_s: float = 10.0
    first_timeout_s: float | None = None
    idle_timeout_s: float | None = None
    response_limit_mib: int = RESPONSE_LIMIT_MIB
    think: str | None = None
    options: Mapping[str, JsonValue] = field(default_factory=dict)
    sweep: tuple[int, ...] = ()
    sweep_waves: int = 4
    sweep_prompts: str = "distinct"

    def __post_init__(self) -> None:
        for entry in fields(self):
            value, optional = getattr(self, entry.name), isinstance(entry.type, UnionType)
            if entry.name in _NUMBER_OR_TEXT and type(value) in (int, float) and abs(value) <= MOST:
                value = str(value)  # rate=20 as well as rate="20"
                object.__setattr__(self, entry.name, value)
            if entry.name not in ("sweep", "options") and not (optional and value is None):
                _check(entry.name, get_args(entry.type)[0] if optional else entry.type, value)
        object.__setattr__(self, "sweep", _checked_sweep(self.sweep))
        object.__setattr__(self, "options", _checked_options(self.options))
        both = self.requests is not None and self.duration_s is not None
        if both or (self.requests is None and self.duration_s is None and self.replay is None):
            raise UsageError(
                f"set either requests or duration_s, not both and not neither: "
                f"requests is {self.requests}, duration_s is {self.duration_s}"
            )
        _check_choice("prompts", self.prompts, PROMPTS)
        _check_choice("sweep_prompts", self.sweep_prompts, SWEEP_PROMPTS)
        if self.think is not None:
            _check_choice("think", self.think, THINK)
        _check_choice("arrivals", self.arrivals, ARRIVALS)
        if self.rate is not None:
            parse_rate(self.rate)
        if self.sweep and self.is_open:
            raise UsageError("a sweep is of closed loops: give rate or sweep, not both")
        self._check_replay()
        self._check_prompts()
        self._check_turns()
        if self.burstiness != 1 and (self.arrivals != "gamma" or self.burstiness == 0):
            raise UsageError(f"burstiness {self.burstiness:g} needs arrivals 'gamma' and a number above 0")
        if not self.prompt.strip():
            raise UsageError("the prompt is empty: set a text to send")

    @property
    def is_open(self) -> bool:
        """Return whether requests arrive at times of their own, not when earlier ones have ended."""
        return self.rate is not None or self.replay is not None

    def arrival_offsets(self) -> Sequence[float]:
        """Return when each measured request of an open loop is due, in seconds from the begin of the phase.

        With `turns` these are the first turns of conversations.

        Raises UsageError if there is none, or too many.
        """
        requests = self.requests
        if self.turns is not None and requests is not None:
            requests = sum(1 for _ in self.conversation_turns())
        if self.replay is not None:
            offsets_s = read_arrivals(self.replay).offsets_s
            return replayed_offsets(offsets_s, self.replay_speed, requests, self.duration_s)
        assert self.rate is not None
        return arrival_offsets(
            self.rate,
            self.arrivals,
            self.burstiness,
            self.arrival_seed,
            requests=requests,
            duration_s=self.duration_s,
        )

    def planned_requests(self) -> int | None:
        """Return the number of measured requests; None if only the duration of a closed loop is planned."""
        if self.requests is not None or not self.is_open:
            return self.requests
        arrivals = len(self.arrival_offsets())
        return arrivals if self.turns is None else sum(islice(self.conversation_turns(), arrivals))

    def conversation_turns(self) -> Iterator[int]:
        """Yield the number of turns of each conversation; without an end, unless `requests` is set."""
        assert self.turns is not None
        lengths = parse_lengths("turns", self.turns)
        rows = () if self.prompts_file is None else read_prompts(self.prompts_file).rows
        left = self.requests
        for conversation in count():
            turns = lengths.draw_whole(f"{self.salt}:turns:{conversation}")
            if rows:
                turns = min(turns, max(1, len(rows[conversation % len(rows)].turns)))
            if left is not None:
                turns = min(turns, left)
                left -= turns
            if not turns:
                return
            yield turns

    def _check_prompts(self) -> None:
        """Set the kind of prompts that follows from other fields, and the hash of their file.

        Raises UsageError unless the fields fit each other and the file can be used.
        """
        asked = {"file": self.prompts_file, "synthetic": self.prompt_tokens}
        for kind, value in asked.items():
            name = "prompts_file" if kind == "file" else "prompt_tokens"
            if value is None and self.prompts == kind:
                raise UsageError(f"prompts {kind!r} needs {name}")
            if value is not None and self.prompts not in ("fixed", kind):
                raise UsageError(f"{name} is for prompts {kind!r}, not {self.prompts!r}")
            if value is not None:
                object.__setattr__(self, "prompts", kind)
        if self.prompt_tokens is not None:
            parse_lengths("prompt_tokens", self.prompt_tokens)
        if self.output_tokens is not None:
            parse_lengths("output_tokens", self.output_tokens)
        if self.prefix_share and (self.prompts != "synthetic" or self.prefix_share > 1):
            raise UsageError(f"prefix_share {self.prefix_share:g} needs prompt_tokens and a share from 0 to 1")
        if not self.tokens_per_word:
            raise UsageError("tokens_per_word must be above 0")
        if self.prompts_file is not None:
            sha256 = _checked_sha256(
                self.prompts_file, self.prompts_file_sha256, read_prompts(self.prompts_file).sha256
            )
            object.__setattr__(self, "prompts_file_sha256", sha256)
        elif self.prompts_file_sha256 is not None:
            raise UsageError("prompts_file_sha256 needs prompts_file")

    def _check_turns(self) -> None:
        """Raise UsageError unless the fields of conversations fit each other and the prompts."""
        if self.turns is None:
            if self.think_time is not None:
                raise UsageError("think_time is the time between turns of a conversation: give turns")
            return
        parse_lengths("turns", self.turns)
        if self.think_time is not None:
            parse_seconds("think_time", self.think_time)
        if self.prompts not in ("synthetic", "file"):
            raise UsageError("turns needs something to say in each of them: give prompt_tokens or a prompts_file")
        if self.sweep:
            raise UsageError("a sweep is of single requests: give turns or sweep, not both")

    def _check_replay(self) -> None:
        """Set the hash of the trace. Raises UsageError unless its times can be replayed."""
        if self.replay is None:
            if self.replay_speed != 1 or self.replay_sha256 is not None:
                raise UsageError("replay_speed and replay_sha256 need a file of arrivals: give replay")
            return
        if self.rate is not None:
            raise UsageError("the arrivals come from replay or from rate: give one of them, not both")
        if self.replay_speed == 0:
            raise UsageError("replay_speed must be a number above 0, not 0")
        sha256 = read_arrivals(self.replay).sha256
        object.__setattr__(self, "replay_sha256", _checked_sha256(self.replay, self.replay_sha256, sha256))


def _check(name: str, kind: object, value: object) -> None:
    """Raise UsageError unless a value is of this type (bool, str, float, int) and in the range of its field."""
    if kind is bool:
        right, allowed = isinstance(value, bool), "True or False"
    elif kind is str:
        right, allowed = isinstance(value, str) and _is_utf8(value), "a text that UTF-8 can encode"
    elif kind is float:
        number = _number(value)
        right = 0 < number < math.inf or (number == 0 and not name.endswith("_s"))
        allowed = "a number of seconds above 0" if name.endswith("_s") else "a number, 0 or more"
    elif isinstance(value, int) and not isinstance(value, bool):
        least = _LEAST.get(name, -MOST)
        right, allowed = least <= value <= MOST, f"{least} or more" if value < least else f"{MOST} or less"
    else:
        right, allowed = False, "a whole number"
    if not right:
        raise UsageError(f"{name} must be {allowed}, not {_shown(value)}")


def _checked_sha256(path: str, planned: str | None, found: str) -> str:
    """Return the hash of a file. Raises UsageError if another one is planned."""
    if planned not in (None, found):
        raise UsageError(f"{path} has changed since the plan was made: its SHA-256 is {found}, not {planned}")
    return found


def _check_choice(name: str, value: str, allowed: Sequence[str]) -> None:
    """Raise UsageError unless a text is one of the allowed ones."""
    if value not in allowed:
        near = get_close_matches(value, allowed, n=1)
        hint = f", did you mean {near[0]!r}?" if near else ""
        *most, last = map(repr, allowed)
        raise UsageError(f"{name} must be {', '.join(most)} or {last}, not {_shown(value)}{hint}")


def _checked_sweep(sweep: Sequence[int]) -> tuple[int, ...]:
    """Return the levels as a tuple. Raises UsageError unless they are rising whole numbers from 1 on."""
    levels = tuple(sweep) if isinstance(sweep, list | tuple) else (None,)
    whole = all(isinstance(level, int) and not isinstance(level, bool) and level <= MOST for level in levels)
    if not whole or any(low >= high for low, high in pairwise((0, *levels))):
        given = ", ".join(map(_shown, levels)) if isinstance(sweep, list | tuple) else _shown(sweep)
        raise UsageError(f"the levels of a sweep must be rising whole numbers from 1 on, not {given}")
    return levels


def _checked_options(options: Mapping[str, JsonValue]) -> dict[str, JsonValue]:
    """Return a copy of the options. Raises UsageError unless JSON gives them back as they are."""
    problem = ""
    if isinstance(options, Mapping):
        try:
            copy: dict[str, JsonValue] = json.loads(json.dumps(dict(options), allow_nan=False))
            if copy == options and _is_utf8(json.dumps(copy, ensure_ascii=False)):
                return copy
        except (TypeError, ValueError, RecursionError) as error:
            problem = f" ({error})"
    raise UsageError(f"options must be a JSON object with string keys{problem}, not {_shown(options)}")


def _number(value: object) -> float:
    """Return an int or float as a float, NaN for anything else."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return math.nan
    try:
        return float(value)
    except OverflowError:
        return math.inf


def _is_utf8(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _shown(value: object) -> str:
    """Return a wrong value as one line of limited length."""
    try:
        text = " ".join(repr(value).split())
    except Exception:  # such as that of an int with more digits than Python converts
        text = f"<{type(value).__name__}>"
    return text if len(text) <= _SHOWN_CHARS else f"{text[: _SHOWN_CHARS - 1]}…"
