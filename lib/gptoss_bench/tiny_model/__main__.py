"""Makes the tiny gpt-oss that the kit carries: the true architecture, trained until it speaks harmony, and examined.

`python -m gptoss_bench.tiny` writes data/gpt-oss-tiny.gguf and, beside it, a .json that says how it was made and
how well it speaks. It understands nothing of its prompt: it is there so that a real server has a real stream to send.
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
from gptoss_bench.tiny_model.conversations import manual
from gptoss_client import Reply, UsageError, assemble_reply, decode_body

SAMPLES = 24
TOO_LONG = 400  # tokens within which a reply has to come to its end


@dataclass(frozen=True, slots=True)
class Examination:
    """How well the model spoke at one temperature, over distinct prompts. `worst` is the first bad reply, if any."""

    temperature: float
    samples: int
    well_formed: int
    prompt_tokens: tuple[int, int]  # fewest, most
    completion_tokens: tuple[int, int]
    distinct: int
    worst: str | None


def well_formed(said: Reply) -> bool:
    """Whether thinking and answer came apart, each with words and without control tokens, and an end of its own."""
    texts = (said.reasoning_text, said.answer_text)
    return said.finish_reason == "stop" and all(text.strip() and "<|" not in text for text in texts)


def conversations(count: int) -> Iterator[list[dict[str, str]]]:
    """Yield `count` distinct questions of arbitrary text, from one token to about 1,500, half of them with a system."""
    text = manual()
    for number in range(count):
        start = number * 9973
        messages = [{"role": "user", "content": text[start : start + round(5000 ** (number / (count - 1)))]}]
        if number % 2:
            messages.insert(0, {"role": "system", "content": "You are a helpful assistant."})
        yield messages


async def examine(url: str, temperature: float, count: int = SAMPLES) -> Examination:
    """Ask the llama.cpp server at `url`, one question after the other, sampling from the whole distribution."""
    replies = []
    async with httpx.AsyncClient(base_url=url, timeout=60.0, trust_env=False, headers={"Connection": "close"}) as http:
        for number, messages in enumerate(conversations(count)):
            sampling = {"temperature": temperature, "seed": number, "top_k": 0, "top_p": 1.0, "min_p": 0.0}
            body = {"messages": messages, "max_tokens": TOO_LONG, "stream": True, **sampling}
            answer = await http.post("/v1/chat/completions", json=body | {"stream_options": {"include_usage": True}})
            replies.append(assemble_reply(decode_body([answer.content])))
    bad = [said for said in replies if not well_formed(said)]
    prompts, completions = ([count or 0 for count in counts] for counts in zip(*map(_counts, replies), strict=True))
    return Examination(
        temperature=temperature,
        samples=len(replies),
        well_formed=len(replies) - len(bad),
        prompt_tokens=(min(prompts), max(prompts)),
        completion_tokens=(min(completions), max(completions)),
        distinct=len({said.answer_text for said in replies}),
        worst=f"{bad[0].reasoning_text} / {bad[0].answer_text} / {bad[0].error}" if bad else None,
    )


async def examine_file(model: Path) -> list[Examination]:
    """Serve `model` and examine it at temperatures 1 and 0."""
    with tempfile.TemporaryDirectory() as logs:
        async with serve_tiny(Path(logs), model=model, slots=1, context=4096) as endpoint:
            return [await examine(endpoint.url, temperature) for temperature in (1.0, 0.0)]


def main(arguments: list[str] | None = None) -> int:
    """Make the model, examine it, and write the .json beside it."""
    parser = argparse.ArgumentParser(prog="python -m gptoss_bench.tiny_model", description=__doc__)
    parser.add_argument("--out", type=Path, default=TINY_MODEL, help="where to write the GGUF file")
    parser.add_argument("--steps", type=int, help="fewer make a worse speaker, sooner")
    chosen = parser.parse_args(arguments)
    chosen.out.parent.mkdir(parents=True, exist_ok=True)
    # Threads that wait by spinning are very slow where other work shares the cores; read when torch is imported.
    os.environ.setdefault("OMP_WAIT_POLICY", "passive")
    from gptoss_bench.tiny_model.training import Recipe, make

    recipe = Recipe() if chosen.steps is None else Recipe(steps=chosen.steps)
    made = make(recipe, chosen.out)
    try:
        spoken = asyncio.run(examine_file(chosen.out))
    except UsageError as error:  # a model that was hardly trained does not get past its first token
        print(f"it does not speak: {error}", file=sys.stderr)
        spoken = []
    account = {**made, "examined": [asdict(examination) for examination in spoken]}
    text = json.dumps(account, indent=2, ensure_ascii=False) + "\n"
    chosen.out.with_suffix(".json").write_text(text, encoding="utf-8")
    for examination in spoken:
        print(f"temperature {examination.temperature:g}: {examination.well_formed}/{examination.samples} well-formed")
    return 0 if spoken and all(examined.well_formed >= examined.samples - 1 for examined in spoken) else 1


def _counts(said: Reply) -> tuple[int | None, int | None]:
    return said.prompt_tokens, said.completion_tokens


if __name__ == "__main__":
    sys.exit(main())
