"""Find a model by name, folder, config.json or hub id, and return its architecture."""

import difflib
import json
import re
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gptoss_bench.memory.architecture import Architecture, architectures
from gptoss_bench.memory.checkpoint import CheckpointTotals, checkpoint_totals
from gptoss_bench.memory.torch_package import require_torch
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
        headers = checkpoint_totals(path)
        config = _from_file(path / "config.json", stored_bytes=headers.bytes if headers else None)
        return Model(config, "its config.json", path, headers)
    if path.is_file():
        return Model(_from_file(path), path.name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return Model(_from_file(_fetch_config(name), name), "the hub")
    raise UsageError(
        f"there is no model {name!r}{_nearest(name)}: pass {', '.join(known)}, a folder, a config.json, or a hub id"
    )


def _nearest(name: str) -> str:
    """Return the question, in brackets, for the known model with the most similar name; empty if none is similar."""
    close = difflib.get_close_matches(name.rpartition("/")[2].lower(), architectures(), n=1)
    return f" (did you mean {close[0]!r}?)" if close else ""


def _from_file(path: Path, name: str | None = None, stored_bytes: int | None = None) -> Architecture:
    try:
        if path.stat().st_size > MAX_CONFIG_BYTES:
            raise UsageError(f"{path} is too large for a config.json; pass the model's own")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; pass a folder with a config.json") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text; pass the model's config.json") from error
    name = name or (path.parent.resolve().name if path.name == "config.json" else path.stem)
    return Architecture.from_config(name, _json_object(str(path), text), stored_bytes)


def _json_object(name: str, text: str) -> "dict[str, JsonValue]":
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON ({error}); pass the model's config.json") from error
    if not isinstance(config, dict):
        raise UsageError(f"{name} holds a {type(config).__name__}, not an object; pass the model's config.json")
    return config


def _fetch_config(name: str) -> Path:
    """Return a model's config.json in the hub's cache, and download it first if it is not there.

    Raises UsageError if the hub cannot be reached or has no such model.
    """
    # The import takes 0.2 s, and only this function needs it.
    from huggingface_hub import get_hf_file_metadata, hf_hub_download, hf_hub_url, try_to_load_from_cache

    try:
        if isinstance(cached := try_to_load_from_cache(name, "config.json"), str):
            return Path(cached)
        # One request without retries: the download alone tries for half a minute if there is no network.
        get_hf_file_metadata(hf_hub_url(name, "config.json"), timeout=HUB_TIMEOUT_S)
        return Path(hf_hub_download(name, "config.json"))
    except Exception as error:  # of the hub's library, of the HTTP library below it, or of the disk
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(
            f"cannot fetch config.json of {name} from the hub ({reason}){_nearest(name)}: pass a local folder instead"
        ) from error


def meta_device_tensors(architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Return name and shape of each parameter of `GptOssForCausalLM`, in the model's own order.

    The model is built on torch's meta device, without memory for weights: an independent check of every count.
    """
    require_torch()
    import torch  # these two imports take seconds, and only this function needs them
    from transformers import GptOssConfig, GptOssForCausalLM

    config: Any = architecture.config_fields()
    with torch.device("meta"):
        model = GptOssForCausalLM(GptOssConfig(**config))
    return tuple((name, tuple(tensor.shape)) for name, tensor in model.named_parameters())
