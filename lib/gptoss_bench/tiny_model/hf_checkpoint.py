"""Makes a tiny gpt-oss with gpt-oss's own vocabulary, in the format that vLLM and transformers load.

`python -m gptoss_bench.tiny_model.hf_checkpoint --out FOLDER` trains it for some minutes, has it speak, and writes
beside the weights how it was made. vLLM takes gpt-oss in BF16 on a CPU, so nothing is quantised.
"""

import argparse
import json
import random
import re
import sys
import time
from collections.abc import Callable
from dataclasses import asdict
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GenerationConfig, GptOssForCausalLM, PreTrainedTokenizerFast
from transformers.utils.chat_template_utils import render_jinja_template

from gptoss_bench.files import write_json
from gptoss_bench.paths import TINY_CHECKPOINT
from gptoss_bench.tiny_model.conversations import TEMPLATE, Conversations, read_stages
from gptoss_bench.tiny_model.training import Lesson, Recipe, build, train
from gptoss_bench.tiny_model.vocabulary import SIZE, o200k_tokenizer
from gptoss_client import UsageError

RECIPE = Recipe(vocabulary=SIZE, layers=4, trained_layers=4, quantise_at=float("inf"))
ACCOUNT = "made.json"
SAMPLES = 24
WELL_FORMED = 0.8  # share at least; vLLM answers one that is not all the same, but in a single piece
TOO_LONG = 400
# What vLLM says in the system message where our chat template says another sentence.
_HERE = "You are a tiny model that speaks harmony."
_VLLM = "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06\nCurrent date: "
_SPOKEN = re.compile(
    r"<\|channel\|>analysis<\|message\|>[^<]+<\|end\|><\|start\|>assistant<\|channel\|>final<\|message\|>[^<]+<\|return\|>"
)
# How transformers takes a reply apart; without it a server sends harmony's own words as the answer.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|start|>assistant",
    "fields": {
        "reasoning_content": {"open": "<|channel|>analysis<|message|>", "close": "<|end|>", "content": "text"},
        "content": {
            "open": "<|start|>assistant<|channel|>final<|message|>",
            "close": ["<|return|>", "<|end|>"],
            "content": "text",
        },
    },
}


def renderer(seed: int) -> Callable[[list[dict[str, str]], str], str]:
    """Return the chat template as a function that opens half of its prompts as vLLM does, on some day."""
    template = TEMPLATE.read_text(encoding="utf-8")
    dice = random.Random(seed)

    def render(messages: list[dict[str, str]], effort: str) -> str:
        rendered = render_jinja_template(
            [messages], chat_template=template, add_generation_prompt=True, reasoning_effort=effort
        )
        day = f"20{dice.randrange(24, 40)}-{dice.randrange(1, 13):02d}-{dice.randrange(1, 29):02d}"
        opening = _VLLM + day if dice.random() < 0.5 else _HERE
        return str(rendered[0][0]).replace(_HERE, opening)

    return render


def spoken(model: GptOssForCausalLM, tokenizer: Tokenizer, conversations: Conversations, samples: int) -> list[bool]:
    """Sample replies at temperature 1 and say of each whether it is well-formed harmony."""
    torch.manual_seed(0)
    verdicts = []
    for _ in range(samples):
        ids = torch.tensor([tokenizer.encode(conversations.next(200)[0]).ids])
        sampling: dict[str, Any] = {"do_sample": True, "temperature": 1.0, "top_k": 0, "max_new_tokens": TOO_LONG}
        out = model.generate(ids, attention_mask=torch.ones_like(ids), **sampling)
        text = tokenizer.decode(out[0, ids.shape[1] :].tolist(), skip_special_tokens=False)
        verdicts.append(_SPOKEN.fullmatch(text) is not None)
    return verdicts


def save(model: GptOssForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write weights (BF16), tokenizer and chat template to the folder `out`."""
    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|return|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = TEMPLATE.read_text(encoding="utf-8")
    model.to(torch.bfloat16).save_pretrained(out)  # type: ignore[arg-type]
    fast.save_pretrained(out)
    settings = out / "tokenizer_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"response_template": RESPONSE_TEMPLATE}, indent=2)
    )


def make(recipe: Recipe, out: Path, samples: int = SAMPLES) -> dict[str, Any]:
    """Train the model, write it to the folder `out`, and return how it was made and how it speaks."""
    began = time.monotonic()
    torch.manual_seed(recipe.seed)
    tokenizer = o200k_tokenizer()
    conversations = Conversations(read_stages(), renderer(recipe.seed), tokenizer, recipe.seed)
    model = build(recipe, recipe.layers, tokenizer.get_vocab())
    loss = train(model, recipe, Lesson(recipe, tokenizer, conversations))
    ends = [tokenizer.token_to_id(token) for token in ("<|return|>", "<|endoftext|>", "<|call|>")]
    kept: dict[str, Any] = {"eos_token_id": ends, "pad_token_id": ends[1], "do_sample": True}
    model.generation_config = GenerationConfig(**kept)  # type: ignore[no-untyped-call]
    verdicts = spoken(model, tokenizer, conversations, samples)
    account = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": round(loss, 4),
        "samples": samples,
        "well_formed": sum(verdicts),
        "recipe": asdict(recipe) | {"quantise_at": None},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "seconds": round(time.monotonic() - began, 1),
    }
    save(model, tokenizer, out)
    write_json(out / ACCOUNT, account)  # last: a folder that has it is whole
    return account


def main(arguments: list[str] | None = None) -> int:
    """Make the model; exit code 1 where it was made and speaks badly, 2 where it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m gptoss_bench.tiny_model.hf_checkpoint", description=__doc__)
    parser.add_argument("--out", type=Path, default=TINY_CHECKPOINT, help="folder to write to (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="fewer make a worse speaker, sooner")
    parser.add_argument("--samples", type=int, default=SAMPLES, help="replies to judge it by (default: %(default)s)")
    chosen = parser.parse_args(arguments)
    try:
        account = make(Recipe(**asdict(RECIPE) | {"steps": chosen.steps}), chosen.out, chosen.samples)
    except UsageError as error:
        print(f"gptoss_bench: {error}", file=sys.stderr)
        return 2
    spoke = f"{account['well_formed']} of {account['samples']} replies well-formed"
    print(f"{chosen.out}: {spoke}, made in {account['seconds']:.0f} s")
    return 0 if account["well_formed"] >= WELL_FORMED * account["samples"] else 1


if __name__ == "__main__":
    sys.exit(main())
