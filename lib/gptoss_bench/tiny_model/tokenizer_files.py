"""Write the tokenizer of gpt-oss beside a checkpoint, and choose the words of a checkpoint with random weights."""

import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

from tokenizers import Tokenizer

from gptoss_bench.files import writing
from gptoss_bench.memory import Speech
from gptoss_bench.paths import BUILD
from gptoss_bench.tiny_model.conversations import read_template
from gptoss_bench.tiny_model.vocabulary import o200k_tokenizer
from gptoss_client import UsageError

# The first sentence of the system message in our chat template, and that of gpt-oss; vLLM adds the current date.
TINY_OPENING = "You are a tiny model that speaks harmony."
GPT_OSS_OPENING = "You are ChatGPT, a large language model trained by OpenAI.\nKnowledge cutoff: 2024-06"
# How transformers parses a reply; without it a server sends the control tokens of harmony as part of the answer.
RESPONSE_TEMPLATE = {
    "defaults": {"role": "assistant"},
    "start_anchor": "<|start|>assistant",
    "fields": {
        "reasoning_content": {"open": "<|channel|>analysis<|message|>", "close": "<|end|>", "content": "text"},
        "content": {
            # After the reasoning, or at the start of the reply, where the prompt ends with <|start|>assistant.
            "open": ["<|start|>assistant<|channel|>final<|message|>", "<|channel|>final<|message|>"],
            "close": ["<|return|>", "<|end|>"],
            "content": "text",
        },
    },
}
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "chat_template.jinja")
END_TOKENS = ("<|return|>", "<|endoftext|>", "<|call|>")
# A well-formed answer: what follows <|start|>assistant.
OPENING = ("assistant", "<|channel|>", "final", "<|message|>")
WORD = re.compile(r"Ġ[a-z]{3,9}")  # Ġ is the space of a byte-level vocabulary
WORDS = 1024


def save_tokenizer(tokenizer: Tokenizer, folder: Path, template: str) -> None:
    """Write a tokenizer with its chat template and the way to parse replies, as transformers and vLLM load them."""
    from transformers import PreTrainedTokenizerFast  # takes seconds

    fast = PreTrainedTokenizerFast(  # type: ignore[no-untyped-call]
        tokenizer_object=tokenizer,
        bos_token="<|startoftext|>",
        eos_token="<|return|>",
        pad_token="<|endoftext|>",
        clean_up_tokenization_spaces=False,
    )
    fast.chat_template = template
    fast.save_pretrained(folder)
    settings = folder / "tokenizer_config.json"
    settings.write_text(
        json.dumps(json.loads(settings.read_text()) | {"response_template": RESPONSE_TEMPLATE}, indent=2)
    )


def write_speaking_tokenizer(folder: Path, source: Path | None, seed: int = 0) -> Speech:
    """Write the tokenizer of gpt-oss to a folder, and return an endless well-formed answer in its tokens.

    It is copied from `source`, a folder with the tokenizer.json of gpt-oss, or else rebuilt from oss-harmony.
    Raises UsageError if there is neither, or if the tokenizer lacks the control tokens of harmony.
    """
    with writing(folder, "choose another folder"):
        folder.mkdir(parents=True, exist_ok=True)
        if source is None:
            tokenizer = _rebuilt_tokenizer()
            save_tokenizer(
                tokenizer, folder, read_template().replace(TINY_OPENING, GPT_OSS_OPENING.replace("\n", "\\n"))
            )
        else:
            tokenizer = _read_tokenizer(source)
            for name in TOKENIZER_FILES:
                if (source / name).is_file():
                    shutil.copyfile(source / name, folder / name)
        vocabulary = tokenizer.get_vocab()
        if missing := [token for token in (*OPENING, *END_TOKENS) if token not in vocabulary]:
            raise UsageError(f"the tokenizer of {source} has no {', '.join(missing)}: pass that of gpt-oss")
        ends = [vocabulary[token] for token in END_TOKENS]
        generation = {"eos_token_id": ends, "pad_token_id": vocabulary["<|endoftext|>"], "do_sample": True}
        (folder / "generation_config.json").write_text(json.dumps(generation, indent=1))
    words = sorted(number for token, number in vocabulary.items() if WORD.fullmatch(token))[:WORDS]
    return Speech.harmony(words, [vocabulary[token] for token in OPENING], seed)


def _read_tokenizer(source: Path) -> Tokenizer:
    try:
        return Tokenizer.from_file(str(source / "tokenizer.json"))
    except Exception as error:  # the library raises Exception itself
        reason = str(error).partition("\n")[0]
        raise UsageError(f"cannot read {source / 'tokenizer.json'} ({reason}): pass a folder with it") from error


def _rebuilt_tokenizer() -> Tokenizer:
    """Return the tokenizer by oss-harmony, also from where `make` installs it."""
    if importlib.util.find_spec("openai_harmony") is None and (BUILD / "harmony").is_dir():
        sys.path.append(str(BUILD / "harmony"))
    return o200k_tokenizer()
