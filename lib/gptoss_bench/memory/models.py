"""Find a model by name, folder, config.json or hub id, and return its architecture."""

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import httpx

from gptoss_bench.memory.architecture import Architecture, architectures
from gptoss_bench.memory.checkpoint import CheckpointTotals, checkpoint_totals
from gptoss_client import UsageError

if TYPE_CHECKING:
    from pydantic import JsonValue

MAX_CONFIG_BYTES = 10**7
HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Model:
    """An architecture and where its config was found."""

    architecture: Architecture
    source: str
    folder: Path | None = None  # of the checkpoint
    headers: CheckpointTotals | None = None  # None: no safetensors files in the folder


def read_model(name: str) -> Model:
    """Find a model. Raises UsageError if there is none, or if its config or checkpoint is invalid."""
    known = architectures()
    if (plain := name.removeprefix("openai/")) in known and not Path(name).exists():
        return Model(known[plain], "the kit's architectures.json")
    path = Path(name).expanduser()
    if path.is_dir():
        return Model(_from_file(path / "config.json"), "its config.json", path, checkpoint_totals(path))
    if path.is_file():
        return Model(_from_file(path), path.name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return Model(Architecture.from_config(name, _json_object(name, _from_hub(name))), "the hub")
    raise UsageError(f"there is no model {name!r}; pass {', '.join(known)}, a folder, a config.json, or a hub id")


def _from_file(path: Path) -> Architecture:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError(f"{path} is too large for a config.json; pass the model's own")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; pass a folder with a config.json") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text; pass the model's config.json") from error
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return Architecture.from_config(name, _json_object(str(path), text))


def _json_object(name: str, text: str) -> "dict[str, JsonValue]":
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON ({error}); pass the model's config.json") from error
    if not isinstance(config, dict):
        raise UsageError(f"{name} holds a {type(config).__name__}, not an object; pass the model's config.json")
    return config


def _from_hub(name: str) -> str:
    """Fetch config.json in one request, without retries: without a network the error must not take half a minute."""
    from huggingface_hub import try_to_load_from_cache  # its import takes a second, and only this function needs it

    if isinstance(cached := try_to_load_from_cache(name, "config.json"), str):
        return Path(cached).read_text(encoding="utf-8")
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise UsageError(f"{name} is not in the hub's cache and HF_HUB_OFFLINE is set; pass a local folder instead")
    token = os.environ.get("HF_TOKEN")
    url = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{name}/resolve/main/config.json"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url, headers=headers, follow_redirects=True, timeout=HUB_TIMEOUT_S)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"cannot fetch config.json of {name} from the hub ({reason}); pass a local folder instead"
        ) from error
    return answer.text


def meta_device_tensors(architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return name and shape of each parameter of `GptOssForCausalLM`, in the model's own order.

    The model is built on torch's meta device, without memory for weights: an independent check of every count.
    """
    import torch  # these two imports take seconds, and only this function needs them
    from transformers import GptOssConfig, GptOssForCausalLM

    config = asdict(architecture)
    del config["name"], config["quantisation"]
    config["layer_types"] = list(architecture.layer_types)
    with torch.device("meta"):
        model = GptOssForCausalLM(GptOssConfig(**config))
    return tuple((name, tuple(tensor.shape)) for name, tensor in model.named_parameters())
