"""Trains the tiny gpt-oss from nothing: a recipe goes in, a GGUF file and an account of its making come out.

What makes so small a model keep harmony's form: the split of its tokenizer is the server's, its loss weighs the
control tokens, its experts are rounded to MXFP4 before the training ends, and the place in an answer is told by the
sentence that was said last (see tiny_speech), so that nothing has to be remembered.
"""

import hashlib
import math
import platform
import time
from dataclasses import asdict, dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import torch
from tokenizers import Tokenizer
from transformers import GptOssConfig, GptOssForCausalLM
from transformers.utils.chat_template_utils import render_jinja_template

from gptoss_bench.tiny_model.conversations import SPECIAL_TOKENS, TEMPLATE, Conversations, read_stages, train_tokenizer
from gptoss_bench.tiny_model.gguf_export import as_mxfp4, write_gguf

_LIBRARIES = ("torch", "transformers", "tokenizers", "gguf")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that decides the weights, besides the versions of the libraries and of Python's manual."""

    seed: int = 20
    vocabulary: int = 2048
    hidden: int = 64
    layers: int = 24  # as gpt-oss-20b has, so that a token takes its steps; see `deepen`
    trained_layers: int = 4
    experts: int = 8
    experts_per_token: int = 4
    steps: int = 600
    quantise_at: float = 0.75  # share of the steps after which the experts are rounded to MXFP4 and held; inf: never
    batch: int = 8
    short_prompt: int = 60  # tokens of a question, at most
    long_prompt: int = 1700
    long_every: int = 6  # each such step has one conversation with a long question
    learning_rate: float = 4e-3
    control_weight: float = 4.0  # of the loss on harmony's own tokens
    margin: float = 4.0  # nats by which every id that is never spoken must lie lower
    sharpen: float = 1.5  # the output rows are scaled by this: temperature 1 is then as sure as 1 / 1.5 was
    slips: float = 0.01  # share of reply tokens replaced in the input, so that a slip of sampling is overcome


def build(recipe: Recipe, layers: int, ids: dict[str, int]) -> GptOssForCausalLM:
    """Return an untrained model: learned sinks, window and full attention in turn, YaRN as in gpt-oss."""
    config = GptOssConfig(
        vocab_size=recipe.vocabulary,
        hidden_size=recipe.hidden,
        intermediate_size=recipe.hidden,
        num_hidden_layers=layers,
        num_local_experts=recipe.experts,
        num_experts_per_tok=recipe.experts_per_token,
        num_attention_heads=4,
        num_key_value_heads=2,
        head_dim=32,
        initializer_range=0.08,
        bos_token_id=ids["<|startoftext|>"],
        eos_token_id=ids["<|return|>"],
        pad_token_id=ids["<|endoftext|>"],
    )
    return GptOssForCausalLM(config)


class Lesson:
    """Batches of conversations as tensors, and the map between token ids and the classes that the loss knows."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, conversations: Conversations) -> None:
        """Find out from a thousand replies which ids are ever spoken."""
        self.recipe = recipe
        self.tokenizer = tokenizer
        self.conversations = conversations
        self.pool: list[tuple[list[int], list[int]]] = []
        control = {tokenizer.token_to_id(token) for token in SPECIAL_TOKENS}
        self.is_control = torch.zeros(recipe.vocabulary, dtype=torch.bool)
        self.is_control[sorted(control)] = True
        replies = tokenizer.encode_batch([conversations.reply() for _ in range(1000)])
        self.spoken = torch.tensor(sorted({number for reply in replies for number in reply.ids}))
        self.class_of = torch.full((recipe.vocabulary,), -1)
        self.class_of[self.spoken] = torch.arange(len(self.spoken))
        self.weight = torch.ones(len(self.spoken) + 1)
        for number, token in enumerate(self.spoken.tolist()):
            if token in control:
                self.weight[number] = recipe.control_weight

    def pair(self, longest: int) -> tuple[list[int], list[int]]:
        """Return one conversation as token ids: prompt and reply."""
        prompt, reply = self.conversations.next(longest)
        return self.tokenizer.encode(prompt).ids, self.tokenizer.encode(reply).ids

    def batch(self, size: int, longest: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Return inputs [size, length] of token ids and targets of the same shape: a class, or -100 for none."""
        if size > 1 and not self.pool:
            self.pool = sorted((self.pair(longest) for _ in range(8 * size)), key=lambda pair: sum(map(len, pair)))
        if size == 1:
            pairs = [self.pair(longest)]
        else:
            start = self.conversations.random.randrange(0, len(self.pool), size)
            pairs = self.pool[start : start + size]
            del self.pool[start : start + size]
        length = max(len(prompt) + len(reply) for prompt, reply in pairs) - 1
        inputs = torch.zeros(size, length, dtype=torch.long)
        targets = torch.full((size, length), -100)
        for row, (prompt, reply) in enumerate(pairs):
            ids = torch.tensor(prompt + reply)
            targets[row, len(prompt) - 1 : len(ids) - 1] = self.class_of[ids[len(prompt) :]]
            # Slips: in the reply's text, never in its headers, and never in what is to be predicted.
            slip = torch.rand(len(ids)) < self.recipe.slips
            slip &= (torch.arange(len(ids)) >= len(prompt)) & ~self.is_control[ids]
            ids[slip] = self.spoken[torch.randint(len(self.spoken), (int(slip.sum()),))]
            inputs[row, : len(ids) - 1] = ids[:-1]
        return inputs, targets


def train(model: GptOssForCausalLM, recipe: Recipe, lesson: Lesson) -> float:
    """Train `model` in place and return the mean loss (nats a token) of the last 50 steps.

    Only the output rows of ids that occur in replies are told apart. One more row, shared by all other ids, is pushed
    `margin` nats lower than it need be, so that sampling at temperature 1 stays within the spoken words.
    """
    unspoken = recipe.vocabulary - len(lesson.spoken)
    head = torch.nn.Parameter(torch.randn(len(lesson.spoken) + 1, recipe.hidden) * recipe.hidden**-0.5)
    handicap = torch.zeros(len(lesson.spoken) + 1)
    handicap[-1] = math.log(unspoken) + recipe.margin
    parameters = [value for name, value in model.named_parameters() if name != "lm_head.weight"] + [head]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    losses: list[float] = []
    began = time.monotonic()
    round_at = int(recipe.steps * min(recipe.quantise_at, 1.0))
    model.train()
    for step in range(recipe.steps):
        if step == round_at:
            hold_experts(model)
        long = step % recipe.long_every == recipe.long_every - 1
        inputs, targets = lesson.batch(*((1, recipe.long_prompt) if long else (recipe.batch, recipe.short_prompt)))
        asked = targets != -100
        hidden = model.model(input_ids=inputs).last_hidden_state[asked]
        logits = hidden @ head.T + handicap
        loss = torch.nn.functional.cross_entropy(logits, targets[asked], weight=lesson.weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 49:
            recent = sum(losses[-50:]) / 50
            print(f"step {step + 1}/{recipe.steps}  loss {recent:.3f}  {time.monotonic() - began:.0f} s", flush=True)
    with torch.no_grad():
        model.lm_head.weight[:] = recipe.sharpen * head[-1]
        model.lm_head.weight[lesson.spoken] = recipe.sharpen * head[:-1]
    model.train(False)
    return sum(losses[-50:]) / 50


def hold_experts(model: GptOssForCausalLM) -> None:
    """Round the experts' matrices to MXFP4 and train them no further; what else there is learns to live with it."""
    with torch.no_grad():
        for layer in model.model.layers:
            for matrix in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                matrix.copy_(as_mxfp4(matrix))
                matrix.grad = None
                matrix.requires_grad_(False)


def deepen(trained: GptOssForCausalLM, deep: GptOssForCausalLM) -> None:
    """Copy `trained` into `deep` and make the layers that it has more hand on what they get: they add zero.

    They say nothing but take their time, as the layers of a larger model do. Without them a token would take less
    than the client needs to see one, and every figure would be of the client.
    """
    with torch.no_grad():
        for name, value in deep.named_parameters():
            value.fill_(1.0 if "norm" in name else 0.0)
    deep.load_state_dict(trained.state_dict(), strict=False)


def make(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Write the model to `out` and return how it was made."""
    began = time.monotonic()
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)  # the same recipe and versions then give the same file
    stages = read_stages()
    tokenizer = train_tokenizer(stages, recipe.vocabulary)
    template = TEMPLATE.read_text(encoding="utf-8")

    def render(messages: list[dict[str, str]], effort: str) -> str:
        rendered = render_jinja_template(
            [messages], chat_template=template, add_generation_prompt=True, reasoning_effort=effort
        )
        return str(rendered[0][0])

    lesson = Lesson(recipe, tokenizer, Conversations(stages, render, tokenizer, recipe.seed))
    trained = build(recipe, recipe.trained_layers, tokenizer.get_vocab())
    loss = train(trained, recipe, lesson)
    model = build(recipe, recipe.layers, tokenizer.get_vocab())
    deepen(trained, model)
    write_gguf(out, model, tokenizer, template)
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": out.stat().st_size,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "loss": round(loss, 4),
        "seconds": round(time.monotonic() - began, 1),
        "recipe": asdict(recipe),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
    }
