"""Train the tiny gpt-oss model of the kit, and examine whether it replies in well-formed harmony.

Writes gpt-oss-tiny.gguf and a .json file next to it with the recipe and the results of the examination. The model does
not understand its prompt: its purpose is that a real server has a real stream to send.
"""

import argparse
import asyncio
import json
import os
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

import httpx

from gptoss_bench.engines import serve_tiny
from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.tiny_model.conversations import python_manual
from gptoss_client import Reply, UsageError, assemble_reply, decode_body

SAMPLES = 24
MAX_REPLY_TOKENS = 400  # a reply must end within them


@dataclass(frozen=True, slots=True)
class Examination:
    """Results at one temperature over distinct prompts."""

    temperature: float
    samples: int
    well_formed: int
    prompt_tokens: tuple[int, int]  # smallest, largest
    completion_tokens: tuple[int, int]
    distinct: int
    worst: str | None  # the first reply that is not well-formed


def is_well_formed(reply: Reply) -> bool:
    """Return whether a reply has reasoning and answer, both non-empty and without control tokens, and a normal end."""
    texts = (reply.reasoning_text, reply.answer_text)
    return reply.finish_reason == "stop" and all(text.strip() and "<|" not in text for text in texts)


def exam_questions(count: int) -> Iterator[list[dict[str, str]]]:
    """Yield the messages of `count` distinct questions, from one token to about 1,500; half have a system message."""
    text = python_manual()
    for number in range(count):
        start = number * 9973
        messages = [{"role": "user", "content": text[start : start + round(5000 ** (number / (count - 1)))]}]
        if number % 2:
            messages.insert(0, {"role": "system", "content": "You are a helpful assistant."})
        yield messages


async def examine(url: str, temperature: float, count: int = SAMPLES) -> Examination:
    """Ask a llama.cpp server one question after the other, sampling from the whole distribution."""
    replies = []
    async with httpx.AsyncClient(base_url=url, timeout=60.0, trust_env=False, headers={"Connection": "close"}) as http:
        for number, messages in enumerate(exam_questions(count)):
            sampling = {"temperature": temperature, "seed": number, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
            body = {"messages": messages, "max_tokens": MAX_REPLY_TOKENS, "stream": True, **sampling}
            answer = await http.post("/v1/chat/completions", json=body | {"stream_options": {"include_usage": True}})
            replies.append(assemble_reply(decode_body([answer.content])))
    bad = [reply for reply in replies if not is_well_formed(reply)]
    prompts, completions = ([count or 0 for count in counts] for counts in zip(*map(_counts, replies), strict=True))
    return Examination(
        temperature=temperature,
        samples=len(replies),
        well_formed=len(replies) - len(bad),
        prompt_tokens=(min(prompts), max(prompts)),
        completion_tokens=(min(completions), max(completions)),
        distinct=len({reply.answer_text for reply in replies}),
        worst=f"{bad[0].reasoning_text} / {bad[0].answer_text} / {bad[0].error}" if bad else None,
    )


async def examine_file(model: Path) -> list[Examination]:
    """Serve `model` and examine it at temperatures 1 and 0."""
    with tempfile.TemporaryDirectory() as logs:
        async with serve_tiny(Path(logs), model=model, slots=1, context=4096) as endpoint:
            return [await examine(endpoint.url, temperature) for temperature in (1.0, 0.0)]


def main(arguments: list[str] | None = None) -> int:
    """Train the model, examine it, write the .json file, and return exit code 1 if it replies badly."""
    parser = argparse.ArgumentParser(prog="python -m gptoss_bench.tiny_model", description=__doc__)
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="where to write the GGUF file")
    parser.add_argument("--steps", type=int, help="fewer train faster and worse")
    chosen = parser.parse_args(arguments)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    # Spinning threads are very slow if other work shares the cores. torch reads this variable at import.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from gptoss_bench.tiny_model.training import Recipe, make_gguf_model

    recipe = Recipe() if chosen.steps is None else Recipe(steps=chosen.steps)
    made = make_gguf_model(recipe, chosen.out)
    try:
        examinations = asyncio.run(examine_file(chosen.out))
    except UsageError as error:  # a model with little training fails at its first token
        print(f"the model does not reply: {error}", file=sys.stderr)
        examinations = []
    record = {**made, "examined": [asdict(examination) for examination in examinations]}
    text = json.dumps(record, indent=2, ensure_ascii=False) + "\n"
    chosen.out.with_suffix(".json").write_text(text, encoding="utf-8")
    for examination in examinations:
        print(f"temperature {examination.temperature:g}: {examination.well_formed}/{examination.samples} well-formed")
    return 0 if examinations and all(examined.well_formed >= examined.samples - 1 for examined in examinations) else 1


def _counts(reply: Reply) -> tuple[int | None, int | None]:
    return reply.prompt_tokens, reply.completion_tokens


if __name__ == "__main__":
    sys.exit(main())
