"""Decide whether a server's model is known to be a gpt-oss, and by what; label it UNKNOWN MODEL where it is not."""

import re
from dataclasses import replace
from functools import cache
from pathlib import Path

from gptoss_bench.engines.registry import ENGINE_SPECS
from gptoss_bench.engines.server_facts import add_facts
from gptoss_bench.memory import architectures, parameters_by_module
from gptoss_bench.runs import REFERENCE_LABEL, TINY_LABEL, UNKNOWN_LABEL, join_labels, split_labels
from gptoss_client import Endpoint, count_at, one_line, text_at

SAME_COUNT = 0.01  # relative difference of two counts of the parameters of one model
# A name of a gpt-oss with its size, such as openai/gpt-oss-20b or gpt-oss:120b, or Ollama's short name.
_NAME = re.compile(r"gpt[-_]?oss.*(?<![0-9a-z])(20|120)b(?![0-9a-z])|^gpt-oss(:latest)?$", re.IGNORECASE)
_NO_GPT_OSS = (TINY_LABEL, REFERENCE_LABEL)  # what answers is known: no gpt-oss


@cache
def _published_counts() -> dict[str, int]:
    return {name: sum(parameters_by_module(each).values()) for name, each in architectures().items()}


def label_unknown_model(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with UNKNOWN MODEL among its labels unless its model is known.

    The number of parameters decides where the server reports it or its checkpoint was counted (the fact `parameters`),
    else the name or path of the weights that it loaded (`weights`), else the name of the served model. A server of an
    unknown engine may call any model by any name. The fact `model_known_by`, or a note, says what decided.
    """
    if any(label in _NO_GPT_OSS for label in split_labels(endpoint.label)):
        return endpoint
    known, why = _judged(endpoint)
    if known:
        return add_facts(endpoint, {"model_known_by": why})
    unknown = replace(endpoint, label=join_labels(endpoint.label, UNKNOWN_LABEL))
    return add_facts(unknown, {}, f"it is not known that this model is a gpt-oss: {why}")


def weights_name(root: str) -> str:
    """Return the name of the weights that a server loaded: that on the hub, or the last folder of a path."""
    if (cached := re.search(r"models--([^/]+)--([^/]+)", root)) is not None:
        return f"{cached[1]}/{cached[2]}"
    return Path(root).name if root.startswith(("/", ".", "~")) else root


def _judged(endpoint: Endpoint) -> tuple[bool, str]:
    """Return whether the model is known, and by what or why not."""
    facts = dict(endpoint.facts)
    parameters, weights = count_at(facts, "parameters"), text_at(facts, "weights")
    if endpoint.engine not in ENGINE_SPECS:
        return False, f"the engine is not recognised, so its name {one_line(endpoint.model)} proves nothing"
    if parameters is not None:
        counts = _published_counts()
        same = [name for name, count in counts.items() if abs(parameters - count) <= SAME_COUNT * count]
        return bool(same), f"{parameters:,} parameters" + (f", as {same[0]} has" if same else ", as none has")
    what, name = ("weights", weights) if weights else ("name", endpoint.model)
    return bool(_NAME.search(name)), f"its {what}: {one_line(name)}; its parameters were not counted"
