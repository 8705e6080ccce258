"""Train a tiny gpt-oss with the full vocabulary of gpt-oss, in the format that vLLM and transformers load.

Trains for some minutes, samples replies, and writes a record of both beside the weights. vLLM runs gpt-oss in BF16 on a
CPU, so nothing is quantised.
"""

import argparse
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
from transformers import GenerationConfig, GptOssForCausalLM

from gptoss_bench.files import write_json
from gptoss_bench.paths import TINY_CHECKPOINT
from gptoss_bench.tiny_model.conversations import Conversations, read_stages, read_template
from gptoss_bench.tiny_model.tokenizer_files import END_TOKENS, GPT_OSS_OPENING, TINY_OPENING, save_tokenizer
from gptoss_bench.tiny_model.training import Recipe, TrainingBatches, build_model, render_prompt, train
from gptoss_bench.tiny_model.vocabulary import VOCABULARY_SIZE, o200k_tokenizer
from gptoss_client import UsageError

RECIPE = Recipe(vocabulary=VOCABULARY_SIZE, layers=4, trained_layers=4, quantise_at=float("inf"))
RECORD_FILE = "made.json"
SAMPLES = 24
MIN_WELL_FORMED = 0.8  # share of replies; vLLM sends a malformed reply as a single event
MAX_REPLY_TOKENS = 400
_WELL_FORMED_REPLY = re.compile(
    r"<\|channel\|>analysis<\|message\|>[^<]+<\|end\|><\|start\|>assistant<\|channel\|>final<\|message\|>[^<]+<\|return\|>"
)


def vllm_prompt_renderer(seed: int) -> Callable[[list[dict[str, str]], str], str]:
    """Return a function that renders prompts; half of them start like vLLM's prompts, with a random date."""
    rng = random.Random(seed)

    def render(messages: list[dict[str, str]], effort: str) -> str:
        day = f"20{rng.randrange(24, 40)}-{rng.randrange(1, 13):02d}-{rng.randrange(1, 29):02d}"
        opening = f"{GPT_OSS_OPENING}\nCurrent date: {day}" if rng.random() < 0.5 else TINY_OPENING
        return render_prompt(messages, effort).replace(TINY_OPENING, opening)

    return render


def sample_well_formed(
    model: GptOssForCausalLM, tokenizer: Tokenizer, conversations: Conversations, samples: int
) -> list[bool]:
    """Sample replies at temperature 1 and return for each whether it is well-formed harmony."""
    torch.manual_seed(0)
    well_formed = []
    for _ in range(samples):
        ids = torch.tensor([tokenizer.encode(conversations.next(200)[0]).ids])
        sampling: dict[str, Any] = {
            "do_sample": True,
            "temperature": 1.0,
            "top_k": 0,
            "max_new_tokens": MAX_REPLY_TOKENS,
        }
        out = model.generate(ids, attention_mask=torch.ones_like(ids), **sampling)
        text = tokenizer.decode(out[0, ids.shape[1] :].tolist(), skip_special_tokens=False)
        well_formed.append(_WELL_FORMED_REPLY.fullmatch(text) is not None)
    return well_formed


def save_checkpoint(model: GptOssForCausalLM, tokenizer: Tokenizer, out: Path) -> None:
    """Write weights (BF16), tokenizer and chat template to a folder."""
    model.to(torch.bfloat16).save_pretrained(out)  # type: ignore[arg-type]
    save_tokenizer(tokenizer, out, read_template())


def make_checkpoint(recipe: Recipe, out: Path, samples: int = SAMPLES) -> dict[str, Any]:
    """Train the model, write it to a folder, and return the record of how it was made and how it replies."""
    started = time.monotonic()
    torch.manual_seed(recipe.seed)
    tokenizer = o200k_tokenizer()
    conversations = Conversations(read_stages(), vllm_prompt_renderer(recipe.seed), tokenizer, recipe.seed)
    model = build_model(recipe, recipe.layers, tokenizer.get_vocab())
    loss = train(model, recipe, TrainingBatches(recipe, tokenizer, conversations))
    ends = [tokenizer.token_to_id(token) for token in END_TOKENS]
    generation: dict[str, Any] = {"eos_token_id": ends, "pad_token_id": ends[1], "do_sample": True}
    model.generation_config = GenerationConfig(**generation)  # type: ignore[no-untyped-call]
    well_formed = sample_well_formed(model, tokenizer, conversations, samples)
    record = {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "loss": round(loss, 4),
        "samples": samples,
        "well_formed": sum(well_formed),
        "recipe": asdict(recipe) | {"quantise_at": None},
        "versions": {name: version(name) for name in ("torch", "transformers", "tokenizers")},
        "seconds": round(time.monotonic() - started, 1),
    }
    save_checkpoint(model, tokenizer, out)
    write_json(out / RECORD_FILE, record)  # last: a folder with this file is complete
    return record


def main(arguments: list[str] | None = None) -> int:
    """Make the checkpoint; return exit code 1 if too few replies are well-formed, 2 if it cannot be made."""
    parser = argparse.ArgumentParser(prog="python -m gptoss_bench.tiny_model.hf_checkpoint", description=__doc__)
    parser.add_argument("--out", type=Path, default=TINY_CHECKPOINT, help="folder to write to (default: %(default)s)")
    parser.add_argument("--steps", type=int, default=RECIPE.steps, help="fewer train faster and worse")
    parser.add_argument(
        "--samples", type=int, default=SAMPLES, help="replies to sample and check (default: %(default)s)"
    )
    chosen = parser.parse_args(arguments)
    try:
        record = make_checkpoint(Recipe(**asdict(RECIPE) | {"steps": chosen.steps}), chosen.out, chosen.samples)
    except UsageError as error:
        print(f"gptoss_bench: {error}", file=sys.stderr)
        return 2
    result = f"{record['well_formed']} of {record['samples']} replies well-formed"
    print(f"{chosen.out}: {result}, made in {record['seconds']:.0f} s")
    return 0 if record["well_formed"] >= MIN_WELL_FORMED * record["samples"] else 1


if __name__ == "__main__":
    sys.exit(main())
