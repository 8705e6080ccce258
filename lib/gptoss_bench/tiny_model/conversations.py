"""Turn the sentences of the tiny model into a tokenizer and into seeded training conversations in harmony."""

import random
from collections.abc import Callable, Iterator
from functools import cache

from tokenizers import Regex, Tokenizer, decoders, models, pre_tokenizers, trainers

from gptoss_bench.paths import TINY_MODEL

TEXT = TINY_MODEL.with_name("gpt-oss-tiny-text.txt")
TEMPLATE = TINY_MODEL.with_name("gpt-oss-tiny.jinja")

SPECIAL_TOKENS = (
    "<|startoftext|>",
    "<|endoftext|>",
    "<|return|>",
    "<|constrain|>",
    "<|channel|>",
    "<|start|>",
    "<|end|>",
    "<|message|>",
    "<|call|>",
)
ROLES = ("assistant", "user", "system", "developer", "analysis", "final", "commentary")

# How llama.cpp splits text before merging if a GGUF file has tokenizer.ggml.pre = "gpt-4o" (the split of o200k).
# A tokenizer trained with another split would give other tokens than the server for the same prompt.
_TAIL = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)?"
_UPPER, _LOWER = r"\p{Lu}\p{Lt}\p{Lm}\p{Lo}\p{M}", r"\p{Ll}\p{Lm}\p{Lo}\p{M}"
PRE_SPLIT = "|".join(
    (
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]*[{_LOWER}]+{_TAIL}",
        rf"[^\r\n\p{{L}}\p{{N}}]?[{_UPPER}]+[{_LOWER}]*{_TAIL}",
        r"\p{N}{1,3}",
        r" ?[^\s\p{L}\p{N}]+[\r\n/]*",
        r"\s*[\r\n]+",
        r"\s+(?!\S)",
        r"\s+",
    )
)


def read_stages() -> tuple[tuple[str, ...], ...]:
    """Return the paragraphs of TEXT as tuples of sentences: the reasoning first, then the stages of an answer."""
    lines = [line for line in TEXT.read_text(encoding="utf-8").splitlines() if not line.startswith("#")]
    paragraphs = "\n".join(lines).strip().split("\n\n")
    return tuple(tuple(paragraph.split("\n")) for paragraph in paragraphs)


@cache
def read_template() -> str:
    """Return the chat template of the tiny model."""
    return TEMPLATE.read_text(encoding="utf-8")


def python_manual() -> str:
    """Return the language reference that CPython includes: English prose and code that every machine has."""
    from pydoc_data.topics import topics  # half a megabyte, needed only for training

    return "\n".join(topics[name] for name in sorted(topics))


def byte_level_tokenizer(model: models.BPE) -> Tokenizer:
    """Return a byte-level tokenizer of a BPE model, with the split of o200k and no special tokens."""
    tokenizer = Tokenizer(model)
    split = pre_tokenizers.Split(Regex(PRE_SPLIT), behavior="isolated")
    byte_level = pre_tokenizers.ByteLevel(add_prefix_space=False, use_regex=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([split, byte_level])
    tokenizer.decoder = decoders.ByteLevel()
    return tokenizer


def train_tokenizer(stages: tuple[tuple[str, ...], ...], size: int) -> Tokenizer:
    """Return a byte-level BPE of `size` ids whose last ids are gpt-oss's special tokens."""
    tokenizer = byte_level_tokenizer(models.BPE())
    trainer = trainers.BpeTrainer(
        vocab_size=size - len(SPECIAL_TOKENS),
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    # Repeated, so that each word of the sentences and each role becomes one token; the manual fills the rest.
    sentences_200_times = [" ".join(sentences) for sentences in stages] * 200
    tokenizer.train_from_iterator([*ROLES * 1000, *sentences_200_times, python_manual()], trainer)
    tokenizer.add_special_tokens(list(SPECIAL_TOKENS))
    return tokenizer


class Conversations:
    """Generate an endless seeded sequence of conversations.

    The reply does not depend on the prompt. The last sentence alone determines the current stage of the answer, so
    that even a very small model can end its reply at any temperature and after any prompt.
    """

    def __init__(
        self,
        stages: tuple[tuple[str, ...], ...],
        render: Callable[[list[dict[str, str]], str], str],
        tokenizer: Tokenizer,
        seed: int,
    ) -> None:
        """Store the parts; `render(messages, reasoning_effort)` applies the chat template and opens the reply."""
        self.thinking, *self.stages = stages
        self.render = render
        self.tokenizer = tokenizer
        self.random = random.Random(seed)
        self.manual = python_manual()

    def next(self, longest: int) -> tuple[str, str]:
        """Return (prompt, reply) in harmony; the last question has at most about `longest` tokens."""
        rng = self.random
        messages = [{"role": "user", "content": self.question(longest)}]
        if rng.random() < 0.1:
            earlier = {"role": "user", "content": self.question(20)}
            messages = [earlier, {"role": "assistant", "content": self.answer()}, *messages]
        if rng.random() < 0.5:
            messages.insert(0, {"role": "system", "content": self.question(30)})
        return self.render(messages, rng.choice(("low", "medium", "high"))), self.reply()

    def question(self, longest: int) -> str:
        """Return arbitrary text: a slice of the manual, sentences of the stages, random tokens or random characters."""
        rng = self.random
        tokens = max(1, int(longest * rng.random() ** 2))
        kind = rng.random()
        if kind < 0.5:
            start = rng.randrange(len(self.manual) - 5 * longest)
            return self.manual[start : start + 3 * tokens]
        if kind < 0.7:
            return " ".join(rng.choice(rng.choice(self.stages)) for _ in range(1 + tokens // 15))
        if kind < 0.9:
            ids = [rng.randrange(self.tokenizer.get_vocab_size() - len(SPECIAL_TOKENS)) for _ in range(tokens)]
            return self.tokenizer.decode(ids) or "?"
        return "".join(chr(rng.choice((rng.randrange(32, 127), rng.randrange(0xA1, 0x2FF)))) for _ in range(tokens))

    def reply(self) -> str:
        """Return a target reply: an analysis message, then a final message."""
        thought = " ".join(self.random.sample(self.thinking, self.random.choice((1, 2, 2))))
        return (
            f"<|channel|>analysis<|message|>{thought}<|end|>"
            f"<|start|>assistant<|channel|>final<|message|>{self.answer()}<|return|>"
        )

    def answer(self) -> str:
        """Return one sentence for each stage of a random walk through the stages, with occasional paragraph breaks."""
        return "".join(self._walk()).strip()

    def _walk(self) -> Iterator[str]:
        stage = 0
        last = len(self.stages) - 1
        while stage < last:
            yield self.random.choice(self.stages[stage])
            yield self.random.choice((" ", " ", " ", "\n\n"))
            stage = min(last, stage + self.random.choice((1, 1, 2, 3)))
        yield self.random.choice(self.stages[last])
        # Rarely it continues, so that a server with ignore_eos generates more sentences and not noise.
        if self.random.random() < 0.02:
            yield " "
            yield from self._walk()
