"""The words of Ollama's API as our front uses them: lines and figures made from llama.cpp's, questions put to it.

Pure, but for `model_entry`, which looks at the model's file. Names and meanings are those of Ollama's api/types.go.
"""

import hashlib
import json
from datetime import UTC, datetime
from typing import Any

from gptoss_bench.engines.llama_cpp import MODEL_NAME, require_tiny
from gptoss_bench.paths import TINY_MODEL
from gptoss_client import ServerTimings

EMULATOR_VERSION = "0.0.0-embedded"  # what our own front answers where Ollama names its version
NAME = f"{MODEL_NAME}:latest"
KEEP_S = 300.0
_UNITS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0}
_OPTIONS = ("temperature", "seed", "top_k", "top_p", "min_p", "stop", "repeat_penalty")
Json = dict[str, Any]


class Line:
    """One line of a reply: Ollama's chat and generate differ in where the text is."""

    def __init__(self, model: str, chat: bool) -> None:
        """Take the model's name as the request had it; `chat` is /api/chat, else it is /api/generate."""
        self._model, self._chat = model, chat

    def __call__(self, answer: str, thinking: str, **more: object) -> Json:
        """Return one line as a JSON object, `more` at its end."""
        thought = {"thinking": thinking} if thinking else {}
        line: Json = {"model": self._model, "created_at": datetime.now(UTC).isoformat()}
        if self._chat:
            line["message"] = {"role": "assistant", "content": answer, **thought}
        else:
            line |= {"response": answer, **thought}
        return line | more


def upstream_request(question: Json, options: Json, chat: bool) -> Json:
    """The same question in llama.cpp's words. A negative num_predict means no limit."""
    if chat:
        messages = question["messages"]
    else:
        system = [{"role": "system", "content": question["system"]}] if question.get("system") else []
        messages = [*system, {"role": "user", "content": question["prompt"]}]
    upstream = {name: options[name] for name in _OPTIONS if name in options}
    if int(options.get("num_predict", -1)) >= 0:
        upstream["max_tokens"] = int(options["num_predict"])
    if isinstance(question.get("think"), str):
        upstream["chat_template_kwargs"] = {"reasoning_effort": question["think"]}
    return {"messages": messages, "stream": True, "stream_options": {"include_usage": True}, **upstream}


def figures(timings: ServerTimings | None, load_s: float, total_s: float) -> Json:
    """Return the figures of the last line: counts, and durations in ns."""
    seconds = {"total_duration": total_s, "load_duration": load_s}
    counts: Json = {}
    if timings is not None:
        seconds |= {"prompt_eval_duration": timings.prompt_s or 0.0, "eval_duration": timings.eval_s or 0.0}
        counts["prompt_eval_count"] = (timings.cached_tokens or 0) + (timings.prompt_tokens or 0)
        counts["eval_count"] = timings.eval_tokens
    stated = {name: round(value * 1e9) for name, value in seconds.items()} | counts
    return {name: value for name, value in stated.items() if value}


def keep_alive_s(keep_alive: object) -> float:
    """Ollama's keep_alive: seconds, or a text such as "5m"; below zero means for ever. Raises ValueError."""
    if keep_alive is None:
        return KEEP_S
    text = str(keep_alive)
    unit = next((unit for unit in _UNITS if text.endswith(unit)), "")
    value = float(text.removesuffix(unit)) * _UNITS.get(unit, 1.0)
    return value if value >= 0 else float("inf")


def model_entry() -> Json:
    """Return what /api/tags says of the tiny model. Raises UsageError where it is missing."""
    require_tiny()
    account = TINY_MODEL.with_suffix(".json")
    parameters = json.loads(account.read_text())["parameters"] if account.is_file() else None
    return {
        "name": NAME,
        "model": NAME,
        "size": TINY_MODEL.stat().st_size,
        "digest": hashlib.sha256(TINY_MODEL.read_bytes()).hexdigest(),
        "details": {
            "format": "gguf",
            "family": "gptoss",
            "parameter_size": f"{parameters / 1e6:.1f}M" if parameters else "",
            "quantization_level": "MXFP4",
        },
    }
