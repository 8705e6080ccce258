"""What an attention sink does, in a small real computation: the same text with the learned sink logits and without.

A head's sink is one more logit in each row of its softmax, and its column is dropped afterwards. So a row of attention
weights sums to less than one: a head that finds nothing to attend to can say little. Without the logit the row is
scaled up to one, and the model says something else.
"""

from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from tokenizers import Tokenizer
from transformers import GptOssForCausalLM

# In the words of the tiny model's own text, so that it has something to say of each token.
TEXT = (
    "<|start|>system<|message|>You are a tiny model that speaks harmony.\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final.<|end|><|start|>user<|message|>What is a sink?<|end|>"
    "<|start|>assistant<|channel|>analysis<|message|>The user wants an answer, so I should say what I measured and how."
    " The question is about a server, and I should begin with the clock.<|end|>"
)
REPLY = "<|channel|>"  # what follows it is the model's own


@dataclass(frozen=True, slots=True)
class Reading:
    """The same text twice. `share` is what each row gives to the sink: (layers, heads, tokens), 0 to 1.

    `loss` and `loss_without`: mean nats per token of the reply. `changed`: the share of its tokens of which another
    one becomes the most likely. `scaling_error`: the largest difference, in the first layer, between weights with the
    sink and weights without it times (1 - share): zero but for rounding, so a kernel that gives its rows' log-sum-exp
    can be given sinks from outside.
    """

    share: npt.NDArray[np.float64]
    loss: float
    loss_without: float
    changed: float
    scaling_error: float
    tokens: int

    def summary(self) -> dict[str, Any]:
        """All of it as JSON types; of the shares their mean by layer and head."""
        return asdict(self) | {"share": self.share.mean(axis=2).round(6).tolist()}


def read_sinks(model: GptOssForCausalLM, tokenizer: Tokenizer, text: str = TEXT) -> Reading:
    """Run `text` through a model with eager attention, with its sinks and with each of them at minus infinity."""
    encoded = tokenizer.encode(text)
    ids = torch.tensor([encoded.ids])
    start = len(encoded.ids) - encoded.tokens[::-1].index(REPLY)
    with torch.no_grad():
        heard = model(ids, output_attentions=True)
        kept = [layer.self_attn.sinks.detach().clone() for layer in model.model.layers]
        for layer in model.model.layers:
            layer.self_attn.sinks.fill_(-torch.inf)
        try:
            deaf = model(ids, output_attentions=True)
        finally:
            for layer, sinks in zip(model.model.layers, kept, strict=True):
                layer.self_attn.sinks.copy_(sinks)
    share = 1 - torch.stack(heard.attentions).squeeze(1).double().sum(-1)
    scaled = deaf.attentions[0].double() * (1 - share[0]).unsqueeze(-1)
    said = [each.logits[0, start - 1 : -1] for each in (heard, deaf)]
    loss, loss_without = (float(torch.nn.functional.cross_entropy(logits, ids[0, start:])) for logits in said)
    return Reading(
        share=share.clamp(0, 1).numpy(),
        loss=loss,
        loss_without=loss_without,
        changed=float((said[0].argmax(-1) != said[1].argmax(-1)).double().mean()),
        scaling_error=float((heard.attentions[0].double() - scaled).abs().max()),
        tokens=len(encoded.ids) - start,
    )
