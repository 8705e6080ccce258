"""A model as somebody would name it to its architecture: a name of the kit's, a folder, a config.json, a hub id."""
# MERGED: The second opinion on every count: the real model class, built without memory on torch's meta device.

import json
import os
import re
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import httpx

from gptoss_bench import paths
from gptoss_bench.memory.architecture import Architecture, read_architectures
from gptoss_bench.memory.checkpoint import Totals, totals
from gptoss_client import UsageError

MOST_CONFIG_BYTES = 10**7
HUB_TIMEOUT_S = 10.0


@dataclass(frozen=True, slots=True)
class Model:
    """An architecture, where its config came from in words, and its checkpoint's folder and sums where it has them."""

    architecture: Architecture
    source: str
    folder: Path | None = None
    headers: Totals | None = None


def read_model(name: str) -> Model:
    """Find a model by name. Raises UsageError, in one line, where there is none or its config is bad."""
    known = read_architectures(paths.ARCHITECTURES.read_text(encoding="utf-8"))
    if (plain := name.removeprefix("openai/")) in known and not Path(name).exists():
        return Model(known[plain], "the kit's data/architectures.json")
    path = Path(name).expanduser()
    if path.is_dir():
        return Model(_local(path / "config.json"), "its config.json", path, totals(path))
    if path.is_file():
        return Model(_local(path), path.name)
    if re.fullmatch(r"[\w.-]+/[\w.-]+", name) and not name.startswith("."):
        return Model(Architecture.from_config(name, _object(name, _from_hub(name))), "the hub")
    raise UsageError(f"there is no model {name!r}; give {', '.join(known)}, a folder, a config.json, or a hub id")


def _local(path: Path) -> Architecture:
    try:
        if path.stat().st_size > MOST_CONFIG_BYTES:
            raise UsageError(f"{path} is too large for a config.json; give the model's own")
        text = path.read_text(encoding="utf-8")
    except OSError as error:
        raise UsageError(f"cannot read {path}: {error.strerror}; a model's folder has a config.json") from error
    except UnicodeDecodeError as error:
        raise UsageError(f"{path} is not text; give the model's config.json") from error
    name = path.parent.resolve().name if path.name == "config.json" else path.stem
    return Architecture.from_config(name, _object(str(path), text))


def _object(name: str, text: str) -> dict[str, Any]:
    try:
        config = json.loads(text)
    except (ValueError, RecursionError) as error:
        raise UsageError(f"{name} is not JSON ({error}); give the model's config.json") from error
    if not isinstance(config, dict):
        raise UsageError(f"{name} holds a {type(config).__name__}, no object; give the model's config.json")
    return config


def _from_hub(name: str) -> str:
    """One request, no retries: where there is no network the answer should not take half a minute."""
    from huggingface_hub import try_to_load_from_cache  # a second of import, and only this needs it

    if isinstance(cached := try_to_load_from_cache(name, "config.json"), str):
        return Path(cached).read_text(encoding="utf-8")
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        raise UsageError(f"{name} is not in the hub's cache and HF_HUB_OFFLINE is set; give a local folder instead")
    token = os.environ.get("HF_TOKEN")
    url = f"{os.environ.get('HF_ENDPOINT', 'https://huggingface.co')}/{name}/resolve/main/config.json"
    headers = {"Authorization": f"Bearer {token}"} if token else {}
    try:
        answer = httpx.get(url, headers=headers, follow_redirects=True, timeout=HUB_TIMEOUT_S)
        answer.raise_for_status()
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        reason = str(error).partition("\n")[0] or type(error).__name__
        raise UsageError(f"no config.json of {name} from the hub ({reason}); give a local folder instead") from error
    return answer.text


def meta_tensors(architecture: Architecture) -> tuple[tuple[str, tuple[int, ...]], ...]:
    """Name and shape of each parameter of `GptOssForCausalLM`, in the model's own order.

    Takes a few seconds, nearly all of them the import of transformers.
    """
    import torch  # the two cost seconds, and only this count needs them
    from transformers import GptOssConfig, GptOssForCausalLM

    config = asdict(architecture)
    del config["name"], config["quantisation"]
    config["layer_types"] = list(architecture.layer_types)
    with torch.device("meta"):
        model = GptOssForCausalLM(GptOssConfig(**config))
    return tuple((name, tuple(tensor.shape)) for name, tensor in model.named_parameters())
