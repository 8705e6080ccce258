"""A conversation of a load: its turns in order, each sent with all that was said before, also by the server.

It is what a chat client sends. Of an answer only its text is sent back, in harmony's terms that of the final channel:
reasoning and tool calls are not, as gpt-oss's chat template leaves them out of earlier turns too.
"""

import hashlib
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field

from gptoss_client.decoder import decode_body
from gptoss_client.dialects import assemble_reply
from gptoss_client.lengths import parse_seconds
from gptoss_client.load_file import Message
from gptoss_client.outcome import request_outcome
from gptoss_client.plan import LoadPlan
from gptoss_client.prompts import max_tokens_of, turn_messages
from gptoss_client.request_bodies import Request, request_body
from gptoss_client.trace import Ending, Endpoint, Trace


@dataclass(slots=True)
class Conversation:
    """Conversation `number`, from 0, whose `turns` have the request ids from `first_id` on; `turn` is the next, from 1.

    `history` is what was said so far.
    """

    plan: LoadPlan
    endpoint: Endpoint
    phase: str
    number: int
    first_id: int
    first_prompt_id: int
    turns: int
    turn: int = 1
    history: list[Message] = field(default_factory=list)

    def request(self, scheduled_ns: int) -> Request:
        """Return the request of the next turn."""
        request_id, turn = self.first_id + self.turn - 1, self.turn
        messages = [*self.history, *turn_messages(self.plan, self.number, turn - 1)]
        max_tokens = max_tokens_of(self.plan, request_id, self.number)
        body = request_body(self.plan, self.endpoint, self.number, max_tokens, messages=messages)
        sha256, prompt_id = hashlib.sha256(body).hexdigest(), self.first_prompt_id + turn - 1
        return Request(
            body, request_id, self.phase, prompt_id, scheduled_ns, max_tokens, self.number, self.turn, sha256
        )

    @property
    def turns_left(self) -> bool:
        """Return whether there is another turn."""
        return self.turn <= self.turns

    async def send(self, request: Request, send: Callable[[Request], Awaitable[Trace]]) -> Trace:
        """Send the request of the next turn."""
        self.turn += 1  # at once: from here on the request is recorded by who sends it, also if this is cancelled
        return await send(request)

    def hear(self, trace: Trace) -> str | None:
        """Add the turn that was sent and its answer to the history; return why there is no answer, None if there is.

        The answer of the last turn is not read.
        """
        if not self.turns_left:
            return None
        said = turn_messages(self.plan, self.number, self.turn - 2)
        reply = assemble_reply(decode_body(data for _, data in trace.pieces))
        outcome = request_outcome(trace, reply)
        self.history += [*said, ("assistant", reply.answer_text)]
        return None if outcome.name == "completed" else f"turn {self.turn - 1} of its conversation {outcome.name}"

    def think_ns(self) -> int:
        """Return how long the user thinks before the next turn."""
        if self.plan.think_time is None:
            return 0
        seed = f"{self.plan.salt}:think_time:{self.number}:{self.turn}"
        return int(parse_seconds("think_time", self.plan.think_time).draw(seed) * 1e9)

    def unsent(self, now_ns: int, ending: Ending, why: str) -> Iterator[Trace]:
        """Yield the trace of each turn that was not sent, the next one first."""
        for turn in range(self.turn, self.turns + 1):
            at = turn - 1
            yield Trace(
                *(self.first_id + at, self.phase, self.first_prompt_id + at, now_ns),
                ending=ending,
                error=f"not sent: {why}",
                conversation=self.number,
                turn=turn,
            )


@dataclass(slots=True)
class Conversations:
    """The conversations of a phase that have not begun, by their numbers of turns; their ids begin at `next_id`.

    Unless they are all `planned`, there is no end of them, and those that were not taken are none that are missing.
    """

    plan: LoadPlan
    endpoint: Endpoint
    phase: str
    turns: Iterator[int]
    planned: bool
    next_id: int
    number: int = 0
    first_prompt_id: int = 0

    def take(self) -> Conversation | None:
        """Return the next conversation, None if there is none."""
        if (turns := next(self.turns, None)) is None:
            return None
        taken = Conversation(
            *(self.plan, self.endpoint, self.phase, self.number, self.next_id, self.first_prompt_id, turns)
        )
        self.number += 1
        self.next_id += turns
        self.first_prompt_id += turns
        return taken

    def rest(self) -> Iterator[Conversation]:
        """Yield the planned conversations that were not taken."""
        while self.planned and (taken := self.take()) is not None:
            yield taken
