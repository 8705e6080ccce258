"""Say what a request of a plan asks: its messages and its token limit, drawn from the seed of the plan. Pure.

A request depends on the plan and its ids only, so it is the same again, whichever process sends it.
"""

import hashlib
import json
import random
from functools import lru_cache
from itertools import islice

from gptoss_client.lengths import parse_lengths
from gptoss_client.load_file import Message, PromptRow, read_prompts
from gptoss_client.plan import LoadPlan

# Words that are one token each in the vocabulary of gpt-oss (o200k), with and without a space before them.
_TEXT = """
time year people way day man thing woman life child world school state family student group country problem hand
part place case week company system program question work number night point home water room mother area money
story fact month lot right study book eye job word business issue side kind head house service friend father power
hour game line end member law car city name team minute idea body back parent face others level office door health
person art war history party result change reason research girl moment air teacher force foot boy age policy music
market sense nation plan college interest death effect use class control field role rate heart drug show leader
light voice wife mind price report decision son view town road arm value building action season tax director
position player record paper space ground form event official matter center site project activity star table need
court oil cost industry figure street image phone data picture practice piece land product doctor wall patient
worker news test movie north love support step baby computer type film tree source hair window culture chance
energy period course summer plant term letter choice rule south floor campaign material call hospital church risk
fire future bank west security east subject station blood nature quality memory bill color stone river machine
garden animal winter spring engine bridge forest science border circle corner degree detail dream driver factor
farm finger fish flight food glass green guide horse hotel lake language library list mark meeting note paint page
path peace
"""
WORDS = _TEXT.split()  # 256, one for each value of a byte
HASHED_PROMPTS = 1000  # of a plan, for `messages_sha256`
_BLOCK = 4096  # words of a shared prefix that are drawn at once


def messages_of(plan: LoadPlan, prompt_id: int) -> list[Message]:
    """Return the messages (role, text) of a prompt; `prompt_id` (from 0) has no effect where all prompts are the same.

    Of a file it is the row, counted on from its begin again after its last one. Of a plan with conversations it is the
    first turn of one.
    """
    if plan.turns is not None:
        return turn_messages(plan, prompt_id, 0)
    system = [("system", plan.system)] if plan.system else []
    if plan.prompts == "synthetic":
        assert plan.prompt_tokens is not None
        tokens = parse_lengths("prompt_tokens", plan.prompt_tokens).draw_whole(f"{plan.salt}:prompt_tokens:{prompt_id}")
        return [*system, ("user", _synthetic_text(plan, f"{prompt_id}", tokens, plan.prefix_share))]
    if plan.prompts == "file":
        row = _row(plan, prompt_id)
        if not row.messages:
            return [*system, ("user", _synthetic_text(plan, f"{prompt_id}", row.input_tokens or 1, 0.0))]
        return [*row.messages] if row.messages[0][0] == "system" else [*system, *row.messages]
    texts = [*system, ("user", plan.prompt)]
    if plan.prompts == "distinct":
        # In gpt-oss's vocabulary each group of three digits is one token: equal numbers of digits are equal lengths.
        tag = f"{plan.salt % 10**6:06d}{prompt_id % 10**6:06d}"
        role, text = texts[0]
        texts[0] = (role, f"{tag} {text}")
    return texts


def turn_messages(plan: LoadPlan, conversation: int, turn: int) -> list[Message]:
    """Return what is said in a turn (from 0) before its answer: by the user, and in the first one by the system.

    The shared begin of synthetic prompts is in the first turn only: what follows repeats it anyway.
    """
    if plan.prompts == "file" and (said := _row(plan, conversation).turns):
        messages = [*said[turn]]
    else:
        lengths = str(_row(plan, conversation).input_tokens) if plan.prompts == "file" else plan.prompt_tokens
        assert lengths is not None
        seed = f"{conversation}:{turn}"
        tokens = parse_lengths("prompt_tokens", lengths).draw_whole(f"{plan.salt}:prompt_tokens:{seed}")
        messages = [("user", _synthetic_text(plan, seed, tokens, 0.0 if turn else plan.prefix_share))]
    has_system = turn > 0 or messages[0][0] == "system" or not plan.system
    return messages if has_system else [("system", plan.system or ""), *messages]


def max_tokens_of(plan: LoadPlan, request_id: int, prompt_id: int) -> int | None:
    """Return the token limit of a request that has one of its own; None: that of the plan.

    `prompt_id` is that of its conversation, if it belongs to one.
    """
    if plan.output_tokens is not None:
        lengths = parse_lengths("output_tokens", plan.output_tokens)
        return lengths.draw_whole(f"{plan.salt}:output_tokens:{request_id}")
    return _row(plan, prompt_id).output_tokens if plan.prompts == "file" else None


def prompt_count(plan: LoadPlan) -> int | None:
    """Return the number of prompts of a plan; None: each request has its own."""
    if plan.prompts == "file":
        assert plan.prompts_file is not None
        return len(read_prompts(plan.prompts_file).rows)
    return 1 if plan.prompts == "fixed" else None


def messages_sha256(plan: LoadPlan) -> str:
    """Return the SHA-256 over the messages of the first HASHED_PROMPTS prompts, or all, as lines of JSON.

    Of conversations it is over what is known beforehand: what is said in each turn, without answers.
    """
    found = hashlib.sha256()
    if plan.turns is not None:
        for conversation, turns in enumerate(islice(plan.conversation_turns(), HASHED_PROMPTS)):
            said = [turn_messages(plan, conversation, turn) for turn in range(turns)]
            found.update(json.dumps(said).encode() + b"\n")
        return found.hexdigest()
    for prompt_id in range(min(prompt_count(plan) or HASHED_PROMPTS, HASHED_PROMPTS)):
        found.update(json.dumps(messages_of(plan, prompt_id)).encode() + b"\n")
    return found.hexdigest()


def _row(plan: LoadPlan, prompt_id: int) -> PromptRow:
    assert plan.prompts_file is not None
    rows = read_prompts(plan.prompts_file).rows
    return rows[prompt_id % len(rows)]


def _synthetic_text(plan: LoadPlan, seed: str, tokens: int, prefix_share: float) -> str:
    """Return words that are so many tokens: first the share that is the same in all prompts, then those of a seed."""
    words = max(1, round(tokens / plan.tokens_per_word))
    shared = round(words * prefix_share)
    drawn = _shared_words(plan.salt, -(-shared // _BLOCK))[:shared]
    drawn += random.Random(f"{plan.salt}:prompt:{seed}").randbytes(words - shared)
    return " ".join([WORDS[number] for number in drawn])


@lru_cache(maxsize=4)
def _shared_words(salt: int, blocks: int) -> bytes:
    """Return the numbers of the words with which prompts begin; more blocks go on where fewer end."""
    return b"".join(random.Random(f"{salt}:prefix:{block}").randbytes(_BLOCK) for block in range(blocks))
