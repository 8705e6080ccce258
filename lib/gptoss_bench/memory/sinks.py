"""Measure what attention sinks do: run one text through a model with its learned sink logits and without them.

A head's sink is one more logit in each row of its softmax; its column is dropped afterwards. So a row of attention
weights sums to less than one, and a head can attend to nothing. Without the sink logit the row is scaled up to one,
and the output changes.
"""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from gptoss_bench.memory.torch_package import require_torch
from gptoss_bench.runs import SinkEffectRecord

if TYPE_CHECKING:  # figures and pages of a SinkEffect need none of these
    from tokenizers import Tokenizer
    from transformers import GptOssForCausalLM

# Made of sentences from the tiny model's training text, so that it predicts them.
TEXT = (
    "<|start|>system<|message|>You are a tiny model that speaks harmony.\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final.<|end|><|start|>user<|message|>What is a sink?<|end|>"
    "<|start|>assistant<|channel|>analysis<|message|>The user wants an answer, so I should say what I measured and how."
    " The question is about a server, and I should begin with the clock.<|end|>"
)
REPLY_START = "<|channel|>"  # what follows its last occurrence is counted as the reply


@dataclass(frozen=True, slots=True)
class SinkEffect:
    """Results of one text with sinks and without.

    `scaling_error` is the largest difference, in the first layer, between the weights with the sink and the weights
    without it times (1 - share). It is zero except for rounding, so sinks can be applied outside of a kernel that
    returns the log-sum-exp of its rows.
    """

    share: npt.NDArray[np.float64]  # of each row that goes to the sink, 0 to 1: (layers, heads, tokens)
    loss: float  # mean nats per token of the reply
    loss_without: float
    changed: float  # share of the reply's tokens for which another token becomes the most likely
    scaling_error: float
    tokens: int  # of the reply

    def summary(self) -> SinkEffectRecord:
        """Return what a run's summary stores of it."""
        return SinkEffectRecord(
            share=self.share.mean(axis=2).round(6).tolist(),
            share_by_token=self.share.mean(axis=1).round(4).tolist(),
            loss=self.loss,
            loss_without=self.loss_without,
            changed=self.changed,
            scaling_error=self.scaling_error,
            tokens=self.tokens,
        )


def measure_sink_effect(model: "GptOssForCausalLM", tokenizer: "Tokenizer", text: str = TEXT) -> SinkEffect:
    """Run `text` through a model with eager attention, with its sinks and with all sinks at minus infinity.

    Raises UsageError if torch or transformers is not installed.
    """
    require_torch()
    import torch

    encoded = tokenizer.encode(text)
    ids = torch.tensor([encoded.ids])
    start = len(encoded.ids) - encoded.tokens[::-1].index(REPLY_START)
    with torch.no_grad():
        with_sinks = model(ids, output_attentions=True)
        original_sinks = [layer.self_attn.sinks.detach().clone() for layer in model.model.layers]
        for layer in model.model.layers:
            layer.self_attn.sinks.fill_(-torch.inf)
        try:
            without_sinks = model(ids, output_attentions=True)
        finally:
            for layer, sinks in zip(model.model.layers, original_sinks, strict=True):
                layer.self_attn.sinks.copy_(sinks)
    share = 1 - torch.stack(with_sinks.attentions).squeeze(1).double().sum(-1)
    scaled = without_sinks.attentions[0].double() * (1 - share[0]).unsqueeze(-1)
    reply_logits = [each.logits[0, start - 1 : -1] for each in (with_sinks, without_sinks)]
    loss, loss_without = (float(torch.nn.functional.cross_entropy(logits, ids[0, start:])) for logits in reply_logits)
    return SinkEffect(
        share=share.clamp(0, 1).numpy(),
        loss=loss,
        loss_without=loss_without,
        changed=float((reply_logits[0].argmax(-1) != reply_logits[1].argmax(-1)).double().mean()),
        scaling_error=float((with_sinks.attentions[0].double() - scaled).abs().max()),
        tokens=len(encoded.ids) - start,
    )
