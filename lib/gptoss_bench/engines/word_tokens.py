"""Find out how many tokens the words of synthetic prompts are in the vocabulary of a server's model."""

import re
from dataclasses import replace

import httpx

from gptoss_bench.asking import NoAnswer, ask, question_client
from gptoss_client import WORDS, Endpoint, JsonValue, LoadPlan, count_at

TOKENS, WORDS_ONLY = "tokens", "words"  # units of the lengths of prompts
_OF_GPT_OSS = re.compile(r"gpt-?oss", re.IGNORECASE)


async def with_word_tokens(plan: LoadPlan, endpoint: Endpoint) -> tuple[LoadPlan, str]:
    """Return the plan with its `tokens_per_word`, and the unit of its lengths: "tokens", or "words" if unknown.

    A server with the question /tokenize (vLLM, llama.cpp) is asked. Else the model's name decides: the words are one
    token each in the vocabulary of gpt-oss. Where they are several, a length holds on average.
    """
    words = " ".join(WORDS)
    try:
        async with question_client(endpoint.url, keep_alive=endpoint.keep_alive) as http:
            body: dict[str, JsonValue] = {
                "model": endpoint.model,
                "prompt": words,
                "content": words,
                "add_special_tokens": False,
            }
            answer = await ask(http, "/tokenize", body)
    except NoAnswer:
        tokens = 0
    else:
        listed = answer.body.get("tokens")
        counted = len(listed) if isinstance(listed, list) else 0
        tokens = (count_at(answer.body, "count") or counted) if answer.status == httpx.codes.OK else 0
    if tokens:
        return replace(plan, tokens_per_word=tokens / len(WORDS)), TOKENS
    return plan, TOKENS if _OF_GPT_OSS.search(endpoint.model) else WORDS_ONLY
