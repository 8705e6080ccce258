"""Describe a command line that cannot be parsed in one line, with the nearest right name or value."""

import difflib
import re
from typing import Any

from typer.exceptions import TyperException

WANTED = {"int": "a whole number", "float": "a number", "bool": "true or false"}
OF_OTHER_TOOLS = {  # options of vllm bench serve, guidellm, aiperf and genai-perf: docs/coming-from.md has all
    "--num-prompts": "-n",
    "--request-count": "-n",
    "--max-requests": "-n",
    "--max-concurrency": "-c",
    "--num-warmups": "--warmup",
    "--warmup-request-count": "--warmup",
    "--request-rate": "--rate",
    "--base-url": "--url",
    "--target": "--url",
    "--random-input-len": "--prompt-tokens",
    "--input-len": "--prompt-tokens",
    "--isl": "--prompt-tokens",
    "--random-output-len": "--output-tokens",
    "--output-len": "--output-tokens",
    "--osl": "--output-tokens",
    "--dataset-path": "--prompts-file",
    "--input-file": "--prompts-file",
    "--goodput": "--slo",
}
HINT = "(--help shows the options and an example)"


def usage_message(error: TyperException) -> str:
    """Return the line for an error of typer's parser: the option, the value, and what is allowed there."""
    context, param, cause = (getattr(error, name, None) for name in ("ctx", "param", "__cause__"))
    command = "" if context is None or context.parent is None else f"{context.info_name}: "
    if param is not None and cause is not None and hasattr(cause, "errors"):
        return f"{command}{_bad_value(param, cause.errors()[0])} {HINT}"
    if param is not None:
        return f"{command}{_name(param)} is missing {HINT}"
    if option := getattr(error, "option_name", None):
        nearest = " or ".join(sorted(getattr(error, "possibilities", None) or ()))
        if (other := OF_OTHER_TOOLS.get(option)) and context is not None and context.info_name == "load":
            nearest = other
        takes = re.search("requires an argument", error.message)
        text = f"{option} needs a value" if takes else f"there is no option {option}"
        return f"{command}{text}{f': did you mean {nearest}?' if nearest else ''} {HINT}"
    text = " ".join(error.format_message().split())
    return f"{command}{text[:1].lower()}{text[1:].rstrip('.')} {HINT}"


def did_you_mean(value: str, allowed: list[str]) -> str:
    """Return the allowed values, the nearest one first where one is near."""
    nearest = difflib.get_close_matches(value, allowed, n=1)
    return (
        f"did you mean {nearest[0]}? Choose one of {', '.join(allowed)}"
        if nearest
        else (f"choose one of {', '.join(allowed)}")
    )


def _bad_value(param: Any, found: dict[str, Any]) -> str:
    value, kind = found["input"], param.type_descriptor.annotation
    start = f"{_name(param)} {value!r}"
    if choices := param.type_descriptor.choices:
        return f"{start}: {did_you_mean(str(value), [str(choice) for choice in choices])}"
    if found["type"] == "value_error":
        return f"{start}: {found['ctx']['error']}"
    if found["type"].startswith(("less_than", "greater_than")):
        return f"{start}: {found['msg'].replace('Input should', 'it has to')}"
    wanted = WANTED.get(getattr(kind, "__name__", ""))
    return f"{start} is not {wanted}" if wanted else f"{start}: {found['msg']}"


def _name(param: Any) -> str:
    """Return the option as it is typed, or the argument as the help shows it."""
    return max(param.opts, key=len) if param.param_type_name == "option" else str(param.display_name_raw)
