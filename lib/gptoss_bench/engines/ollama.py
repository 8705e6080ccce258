"""Ollama, the real one: launched, or found as the service that its installer sets up; what it says of itself."""
# MERGED: The models of a running Ollama: pulled with progress, and dropped from memory for a cold start.

import asyncio
import json
import os
from collections.abc import AsyncIterator, Callable, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import httpx

from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.launch_options import LaunchOptions
from gptoss_bench.engines.ollama_emulator.messages import EMBEDDED_VERSION
from gptoss_bench.engines.questions import Facts, as_object, ask, asking, entries, same_model, with_facts
from gptoss_bench.engines.registry import version_notes
from gptoss_bench.runs import NO_GPU_LABEL, PARTIAL_LABEL, TINY_LABEL, join_labels
from gptoss_client import Endpoint, RunFailed, UsageError, request_headers

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
FRONT = "llama.cpp behind an Ollama-API front"
ADVICE = "install it from ollama.com"


@dataclass(frozen=True, slots=True)
class Ollama:
    """`ollama serve` with `slots` requests at a time; `context` None leaves its size to Ollama, which goes by VRAM."""

    model: str
    slots: int = 1
    context: int | None = None
    log_name: str = "ollama.log"
    cwd: Path | None = None

    @classmethod
    def from_options(cls, model: str, options: LaunchOptions) -> "Ollama":
        """Return the engine with those of the options that it has."""
        return cls(model, slots=options.slots, context=options.context)

    def prepare(self) -> Endpoint:
        """Raise UsageError where there is no ollama, or where it has not pulled the model."""
        executable("ollama", "ollama", ADVICE)
        store = model_store()
        # A store that is not there yet is the program's own business; one that is must have the model.
        if (store / "manifests").is_dir() and not manifest_of(store, self.model).is_file():
            raise UsageError(
                f"ollama has not pulled {self.model} into {store}; to fetch it: ollama pull {self.model} "
                "(a service that has it is used where it runs: OLLAMA_HOST, or url=http://HOST:PORT)"
            )
        facts = {"num_parallel": self.slots}
        return Endpoint(url="", model=self.model, dialect="ollama", engine="ollama", facts=facts)

    def command(self, port: int) -> list[str]:
        """All that matters is in the environment."""
        return [executable("ollama", "ollama", ADVICE), "serve"]

    def environment(self, port: int) -> dict[str, str]:
        """Address, requests at a time, and the context where it is not left to Ollama."""
        sized = {} if self.context is None else {"OLLAMA_CONTEXT_LENGTH": str(self.context)}
        return {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_NUM_PARALLEL": str(self.slots), **sized}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """As one that runs already."""
        return await describe_ollama(http, endpoint)


def model_store() -> Path:
    """The folder in which an `ollama serve` of ours would look for its models."""
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def manifest_of(store: Path, model: str) -> Path:
    """The file that is there once a model was pulled: registry, owner, name and tag are its folders."""
    name, _, tag = model.partition(":")
    parts = name.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return store.joinpath("manifests", *defaults[: max(0, 3 - len(parts))], *parts, tag or "latest")


def service_url() -> str:
    """Where a service of Ollama listens: OLLAMA_HOST as Ollama reads it (a port is 11434 where none is said)."""
    address = (os.environ.get("OLLAMA_HOST") or DEFAULT_HOST).strip().rstrip("/")
    scheme, _, rest = address.rpartition("://")
    ported = rest if scheme or rest.rpartition(":")[2].isdigit() else f"{rest.rstrip(':')}:{DEFAULT_PORT}"
    return f"{scheme or 'http'}://{ported}"


async def running_service(model: str) -> str | None:
    """The url of an Ollama that runs where OLLAMA_HOST or Ollama's default says and has the model; None without one.

    The installer's service keeps its models where no other user's `ollama serve` finds them, and one GPU holds gpt-oss
    once: so what runs already is used.
    """
    url = service_url()
    try:
        async with asking(url) as http:
            tags = await ask(http, "/api/tags")
    except (UsageError, httpx.InvalidURL):
        return None
    pulled = [str(entry.get("name")) for entry in entries(tags.body, "models")]
    return url if any(same_model(model, name) for name in pulled) else None


async def describe_ollama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """What Ollama says of itself. `/api/ps` lists what is loaded, so this is asked after a token came back."""
    version = (await ask(http, "/api/version")).body.get("version")
    shown = (await ask(http, "/api/show", {"model": endpoint.model})).body
    details, info = as_object(shown.get("details")), as_object(shown.get("model_info"))
    loaded = entries((await ask(http, "/api/ps")).body, "models")
    ours: Facts = next((entry for entry in loaded if same_model(endpoint.model, str(entry.get("name")))), {})
    embedded = version == EMBEDDED_VERSION
    label, notes, share = offload(ours)
    facts = {
        "context": ours.get("context_length"),
        "size_bytes": ours.get("size"),
        "size_vram_bytes": ours.get("size_vram"),
        "vram_share": share,
        "expires_at": ours.get("expires_at"),
        "digest": ours.get("digest"),
        "parameter_size": details.get("parameter_size"),
        "parameters": info.get("general.parameter_count"),
        "capabilities": shown.get("capabilities"),
    }
    described = replace(
        endpoint,
        engine=FRONT if embedded else endpoint.engine,
        version=version,
        quantisation=details.get("quantization_level"),
        label=TINY_LABEL if embedded else join_labels(endpoint.label, label),
    )
    return with_facts(described, facts, *([] if embedded else [*version_notes("ollama", version), *notes]))


def offload(entry: Mapping[str, Any]) -> tuple[str | None, list[str], float | None]:
    """From an entry of /api/ps: a label where not all of the model is in GPU memory, the words, the share that is.

    Ollama leaves out what is zero, so an entry with a size and without size_vram is all in system memory.
    """
    size, vram = entry.get("size"), entry.get("size_vram") or 0
    if not isinstance(size, int) or size <= 0:
        return None, [], None
    share = vram / size
    if vram >= size:
        return None, [], 1.0
    words = f"{share:.0%} of the loaded model ({vram:,} of {size:,} bytes) is in GPU memory, the rest in the system's"
    return (PARTIAL_LABEL if vram else NO_GPU_LABEL), [words], round(share, 4)


Pulled = Callable[[str, int, int], None]  # what it does, bytes that are here, bytes in all (0 where not known)
_SILENCE_S = 120.0


async def unload(endpoint: Endpoint, *, timeout_s: float = 60.0) -> None:
    """Make an Ollama server drop the endpoint's model; returns when it lists it as loaded no more.

    Raises UsageError where the endpoint speaks no Ollama API, RunFailed where the model stays.
    """
    if endpoint.dialect != "ollama":
        raise UsageError(f"{endpoint.engine} cannot unload a model: a cold start is measured with Ollama's API")
    headers = request_headers(keep_alive=False)
    try:
        async with (
            asyncio.timeout(timeout_s),
            httpx.AsyncClient(base_url=endpoint.url, headers=headers, timeout=timeout_s, trust_env=False) as http,
        ):
            answer = await http.post("/api/generate", json={"model": endpoint.model, "keep_alive": 0})
            answer.raise_for_status()
            while any(same_model(endpoint.model, name) for name in await _loaded(http)):  # noqa: ASYNC110 - over HTTP
                await asyncio.sleep(0.05)
    except (httpx.HTTPError, TimeoutError) as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise RunFailed(f"{endpoint.model} was not unloaded within {timeout_s:g} s: {reason}") from None


async def pull(url: str, model: str, progress: Pulled) -> None:
    """Have the Ollama at `url` fetch a model, and tell `progress` how far each of its files is.

    Raises UsageError where nothing answers or the registry has no such model, RunFailed where the pull breaks off.
    """
    headers = request_headers(keep_alive=False)
    try:
        async with (
            httpx.AsyncClient(base_url=url, headers=headers, timeout=_SILENCE_S, trust_env=False) as http,
            http.stream("POST", "/api/pull", json={"model": model, "stream": True}) as answer,
        ):
            last = ""
            async for line in _lines(answer):
                if error := line.get("error"):
                    raise UsageError(f"{url} cannot pull {model}: {error}")
                last = str(line.get("status") or "")
                progress(last, int(line.get("completed") or 0), int(line.get("total") or 0))
    except httpx.ConnectError as error:
        raise UsageError(f"nothing answers at {url} ({error}): start it with: ollama serve") from None
    except httpx.HTTPError as error:
        raise RunFailed(f"the pull of {model} broke off ({str(error) or type(error).__name__}): pull again") from None
    if last != "success":
        raise RunFailed(f"the pull of {model} ended without success (last: {last or 'nothing'}): pull again")


async def _lines(answer: httpx.Response) -> AsyncIterator[dict[str, Any]]:
    """The objects of a stream of lines; an answer that is no such line is an error of that status."""
    async for text in answer.aiter_lines():
        try:
            line = json.loads(text or "{}")
        except ValueError:
            line = {"error": f"HTTP {answer.status_code}: {text[:200]}"}
        yield line if isinstance(line, dict) else {"error": f"HTTP {answer.status_code}"}


async def _loaded(http: httpx.AsyncClient) -> list[str]:
    answer = await http.get("/api/ps")
    return [str(model.get("name")) for model in answer.json().get("models") or []]
