"""Train the tiny gpt-oss: a recipe enters, a GGUF file and a record of how it was made leave.

Four choices let so small a model keep the form of harmony: its tokenizer splits text like the server's, the loss weighs
control tokens more, the experts are rounded to MXFP4 before the training ends, and the last sentence alone determines
the stage of the answer (see conversations.py), so that the model needs no memory.
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

from gptoss_bench.tiny_model.conversations import (
    SPECIAL_TOKENS,
    Conversations,
    read_stages,
    read_template,
    train_tokenizer,
)
from gptoss_bench.tiny_model.gguf_export import as_mxfp4, write_gguf

_LIBRARIES = ("torch", "transformers", "tokenizers", "gguf")


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything that determines the weights, apart from the versions of the libraries and of Python's manual."""

    seed: int = 20
    vocabulary: int = 2048
    hidden: int = 64
    layers: int = 24  # like gpt-oss-20b, so that a token takes a realistic time; see `copy_and_pad`
    trained_layers: int = 4
    experts: int = 8
    experts_per_token: int = 4
    steps: int = 600
    quantise_at: float = 0.75  # share of steps after which the experts are rounded to MXFP4 and frozen; inf: never
    batch: int = 8
    short_prompt: int = 60  # largest tokens of a question
    long_prompt: int = 1700
    long_every: int = 6  # every n-th step has one conversation with a long question
    learning_rate: float = 4e-3
    control_weight: float = 4.0  # of the loss on harmony's control tokens
    margin: float = 4.0  # nats by which ids that occur in no reply must be lower
    sharpen: float = 1.5  # factor on the output rows: temperature 1 then acts like 1 / 1.5
    slips: float = 0.01  # share of reply tokens replaced in the input, so that the model recovers from a bad sample


def render_prompt(messages: list[dict[str, str]], reasoning_effort: str) -> str:
    """Return the chat template applied to messages, with the opening of a reply at its end."""
    rendered = render_jinja_template(
        [messages], chat_template=read_template(), add_generation_prompt=True, reasoning_effort=reasoning_effort
    )
    return str(rendered[0][0])


def build_model(recipe: Recipe, layers: int, ids: dict[str, int]) -> GptOssForCausalLM:
    """Return an untrained model: learned sinks, alternating window and full attention, and YaRN, as in gpt-oss."""
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


class TrainingBatches:
    """Generate batches of conversations as tensors, and map token ids to the classes of the loss."""

    def __init__(self, recipe: Recipe, tokenizer: Tokenizer, conversations: Conversations) -> None:
        """Collect the ids that occur in a thousand replies: each is one class."""
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
        """Return inputs [size, length] of token ids, and targets of the same shape: a class, or -100 for none."""
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
            # Replace tokens in the text of the reply only, never in its headers and never in the targets.
            slip = torch.rand(len(ids)) < self.recipe.slips
            slip &= (torch.arange(len(ids)) >= len(prompt)) & ~self.is_control[ids]
            ids[slip] = self.spoken[torch.randint(len(self.spoken), (int(slip.sum()),))]
            inputs[row, : len(ids) - 1] = ids[:-1]
        return inputs, targets


def train(model: GptOssForCausalLM, recipe: Recipe, batches: TrainingBatches) -> float:
    """Train `model` in place and return the mean loss (nats per token) of the last 50 steps.

    Only ids that occur in replies have their own output row. All other ids share one row, which is pushed down by an
    extra `margin` in nats, so that sampling at temperature 1 stays within the ids of the replies.
    """
    unspoken = recipe.vocabulary - len(batches.spoken)
    head = torch.nn.Parameter(torch.randn(len(batches.spoken) + 1, recipe.hidden) * recipe.hidden**-0.5)
    handicap = torch.zeros(len(batches.spoken) + 1)
    handicap[-1] = math.log(unspoken) + recipe.margin
    parameters = [value for name, value in model.named_parameters() if name != "lm_head.weight"] + [head]
    optimiser = torch.optim.AdamW(parameters, lr=recipe.learning_rate, weight_decay=0.0, betas=(0.9, 0.98))
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, recipe.learning_rate, total_steps=recipe.steps, pct_start=0.1
    )
    losses: list[float] = []
    started = time.monotonic()
    round_at = int(recipe.steps * min(recipe.quantise_at, 1.0))
    model.train()
    for step in range(recipe.steps):
        if step == round_at:
            freeze_experts(model)
        long = step % recipe.long_every == recipe.long_every - 1
        inputs, targets = batches.batch(*((1, recipe.long_prompt) if long else (recipe.batch, recipe.short_prompt)))
        predicted = targets != -100
        hidden = model.model(input_ids=inputs).last_hidden_state[predicted]
        logits = hidden @ head.T + handicap
        loss = torch.nn.functional.cross_entropy(logits, targets[predicted], weight=batches.weight)
        optimiser.zero_grad()
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimiser.step()
        schedule.step()
        losses.append(loss.item())
        if step % 50 == 49:
            recent = sum(losses[-50:]) / 50
            print(f"step {step + 1}/{recipe.steps}  loss {recent:.3f}  {time.monotonic() - started:.0f} s", flush=True)
    with torch.no_grad():
        model.lm_head.weight[:] = recipe.sharpen * head[-1]
        model.lm_head.weight[batches.spoken] = recipe.sharpen * head[:-1]
    model.train(False)
    return sum(losses[-50:]) / 50


def freeze_experts(model: GptOssForCausalLM) -> None:
    """Round the experts' matrices to MXFP4 and freeze them; the other weights adapt to them."""
    with torch.no_grad():
        for layer in model.model.layers:
            for matrix in (layer.mlp.experts.gate_up_proj, layer.mlp.experts.down_proj):
                matrix.copy_(as_mxfp4(matrix))
                matrix.grad = None
                matrix.requires_grad_(False)


def copy_and_pad(trained: GptOssForCausalLM, deep: GptOssForCausalLM) -> None:
    """Copy the layers of `trained` into `deep` and let the remaining layers of `deep` add zero.

    Those layers take as much time as real ones. Without them a token would take less time than the client needs to
    read it, and every measurement would be one of the client.
    """
    with torch.no_grad():
        for name, value in deep.named_parameters():
            value.fill_(1.0 if "norm" in name else 0.0)
    deep.load_state_dict(trained.state_dict(), strict=False)


def make_gguf_model(recipe: Recipe, out: Path) -> dict[str, Any]:
    """Train the model, write it to `out`, and return the record of how it was made."""
    started = time.monotonic()
    torch.manual_seed(recipe.seed)
    torch.use_deterministic_algorithms(True)  # the same recipe and versions give the same file
    stages = read_stages()
    tokenizer = train_tokenizer(stages, recipe.vocabulary)

    batches = TrainingBatches(recipe, tokenizer, Conversations(stages, render_prompt, tokenizer, recipe.seed))
    trained = build_model(recipe, recipe.trained_layers, tokenizer.get_vocab())
    loss = train(trained, recipe, batches)
    model = build_model(recipe, recipe.layers, tokenizer.get_vocab())
    copy_and_pad(trained, model)
    write_gguf(out, model, tokenizer, read_template())
    return {
        "parameters": sum(parameter.numel() for parameter in model.parameters()),
        "bytes": out.stat().st_size,
        "sha256": hashlib.sha256(out.read_bytes()).hexdigest(),
        "loss": round(loss, 4),
        "seconds": round(time.monotonic() - started, 1),
        "recipe": asdict(recipe),
        "versions": {"python": platform.python_version()} | {name: version(name) for name in _LIBRARIES},
    }
