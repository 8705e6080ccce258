"""Launch Ollama, find its running service, read what it reports, unload its models."""

import asyncio
import contextlib
import os
from collections.abc import Mapping
from dataclasses import dataclass, replace
from ipaddress import ip_address
from pathlib import Path

import httpx

from gptoss_bench.asking import NoAnswer, ask, question_client
from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.registry import version_notes
from gptoss_bench.engines.server_facts import Facts, add_facts, fetch, same_model
from gptoss_bench.runs import NO_GPU_LABEL, PARTIAL_LABEL, TINY_LABEL, join_labels, model_label
from gptoss_client import Endpoint, JsonValue, RunFailed, UsageError, count_at, object_at, objects_at, text_at

DEFAULT_HOST, DEFAULT_PORT = "127.0.0.1", 11434
EMULATOR_NAME = "llama.cpp behind an Ollama-API front"
EMULATOR_VERSION = "0.0.0-embedded"  # what `ollama_emulator` answers where Ollama reports its version
ADVICE = "install it from ollama.com"


@dataclass(frozen=True, slots=True)
class Ollama:
    """`ollama serve` with `slots` requests at a time; with `context` None, Ollama chooses it by the GPU's memory."""

    model: str
    slots: int = 1
    context: int | None = None
    log_name: str = "ollama.log"
    cwd: Path | None = None

    @classmethod
    def from_choice(cls, server: ServerChoice, slots: int) -> "Ollama":
        """Return the engine with the model and context of `server`."""
        return cls(server.model, slots=slots, context=server.context or None)

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError where ollama is not installed or has not pulled the model."""
        executable("ollama", "ollama", ADVICE)
        store = model_store()
        # Ollama creates a missing store itself; an existing one must have the model.
        if (store / "manifests").is_dir() and not manifest_of(store, self.model).is_file():
            raise UsageError(
                f"ollama has not pulled {self.model} into {store}; to download it: ollama pull {self.model} "
                "(to use a running service that has it, set OLLAMA_HOST or url=http://HOST:PORT)"
            )
        facts = {"num_parallel": self.slots}
        return Endpoint(url="", model=self.model, dialect="ollama", engine="ollama", facts=facts)

    def command(self, port: int) -> list[str]:
        """Return `ollama serve`; its settings are environment variables."""
        return [executable("ollama", "ollama", ADVICE), "serve"]

    def environment(self, port: int) -> dict[str, str]:
        """Return its address, the number of parallel requests, and the context where it is given."""
        sized = {} if self.context is None else {"OLLAMA_CONTEXT_LENGTH": str(self.context)}
        return {"OLLAMA_HOST": f"127.0.0.1:{port}", "OLLAMA_NUM_PARALLEL": str(self.slots), **sized}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """Return the endpoint with what Ollama reports."""
        return await describe_ollama(http, endpoint)


def model_store() -> Path:
    """Return the folder in which an `ollama serve` of this user keeps its models."""
    return Path(os.environ.get("OLLAMA_MODELS") or Path.home() / ".ollama" / "models")


def manifest_of(store: Path, model: str) -> Path:
    """Return the file that exists once a model is pulled; its path is registry, owner, name and tag."""
    name, _, tag = model.partition(":")
    parts = name.split("/")
    defaults = ["registry.ollama.ai", "library"]
    return store.joinpath("manifests", *defaults[: max(0, 3 - len(parts))], *parts, tag or "latest")


def service_url() -> str:
    """Return the URL at which the `ollama` command reaches its service by OLLAMA_HOST.

    An empty or unspecified host (0.0.0.0, [::]) is this machine, a missing port is 11434 unless there is a scheme, and
    a path is ignored.
    """
    address = os.environ.get("OLLAMA_HOST", "").strip().strip("\"'")
    scheme, separator, rest = address.rpartition("://")
    host, port = _host_and_port(rest.partition("/")[0])
    with contextlib.suppress(ValueError):
        ip = ip_address(host)
        if ip.is_unspecified:
            host = "127.0.0.1" if ip.version == 4 else "::1"
        host = f"[{host}]" if ip.version == 6 else host
    if not port and not separator:
        port = str(DEFAULT_PORT)
    return f"{scheme or 'http'}://{host or DEFAULT_HOST}{port and f':{port}'}"


def _host_and_port(address: str) -> tuple[str, str]:
    """Return the host without brackets, and the port; a part that is missing, or a port that is no number, is empty."""
    with contextlib.suppress(ValueError):
        return str(ip_address(address.strip("[]"))), ""
    host, separator, port = address.rpartition(":")
    if not separator:
        host, port = address, ""
    return host.strip("[]"), port if port.isdecimal() and int(port) < 2**16 else ""


async def running_service(model: str) -> str | None:
    """Return the URL of the Ollama service where it runs and has the model, else None.

    A running service is preferred: its models are in the store of another user, and a GPU holds gpt-oss only once.
    """
    url = service_url()
    try:
        async with question_client(url) as http:
            tags = await fetch(http, "/api/tags")
    except (UsageError, httpx.InvalidURL):
        return None
    return url if _has_model(tags.body, model) else None


async def describe_ollama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what Ollama reports. Call it after a token: `/api/ps` lists loaded models only."""
    version = text_at((await fetch(http, "/api/version")).body, "version")
    shown = (await fetch(http, "/api/show", {"model": endpoint.model})).body
    details, info = object_at(shown, "details"), object_at(shown, "model_info")
    loaded = objects_at((await fetch(http, "/api/ps")).body, "models")
    ours = next((entry for entry in loaded if same_model(endpoint.model, text_at(entry, "name") or "")), {})
    embedded = version == EMULATOR_VERSION
    label, notes, share = offload(ours)
    parameters = count_at(info, "general.parameter_count")
    named = f"{endpoint.model} {text_at(info, 'general.name') or ''}"
    capabilities = shown.get("capabilities")
    facts: Facts = {
        "context": count_at(ours, "context_length"),
        "size_bytes": count_at(ours, "size"),
        "size_vram_bytes": count_at(ours, "size_vram"),
        "vram_share": share,
        "expires_at": text_at(ours, "expires_at"),
        "digest": text_at(ours, "digest"),
        "parameter_size": text_at(details, "parameter_size"),
        "parameters": parameters,
        "capabilities": capabilities if isinstance(capabilities, list) else None,
    }
    described = replace(
        endpoint,
        engine=EMULATOR_NAME if embedded else endpoint.engine,
        version=version,
        quantisation=text_at(details, "quantization_level"),
        label=TINY_LABEL if embedded else join_labels(endpoint.label, model_label(named, parameters), label),
    )
    return add_facts(described, facts, *([] if embedded else [*version_notes("ollama", version), *notes]))


def offload(entry: JsonValue) -> tuple[str | None, list[str], float | None]:
    """Return from an entry of /api/ps the label and notes of a model outside GPU memory, and the share inside.

    Ollama omits zeros, so an entry with a size and without size_vram is entirely in system memory.
    """
    size, vram = count_at(entry, "size"), count_at(entry, "size_vram") or 0
    if not size:
        return None, [], None
    share = vram / size
    if vram >= size:
        return None, [], 1.0
    note = f"{share:.0%} of the loaded model ({vram:,} of {size:,} bytes) is in GPU memory, the rest in system memory"
    return (PARTIAL_LABEL if vram else NO_GPU_LABEL), [note], round(share, 4)


async def unload(endpoint: Endpoint, *, timeout_s: float = 60.0) -> None:
    """Unload the endpoint's model from an Ollama server; return when the server no longer lists it as loaded.

    Raises UsageError where the dialect is not Ollama's, RunFailed where the model stays loaded.
    """
    if endpoint.dialect != "ollama":
        raise UsageError(f"{endpoint.engine} cannot unload a model: a cold start needs Ollama's API")
    failed = f"{endpoint.model} was not unloaded within {timeout_s:g} s"
    try:
        async with asyncio.timeout(timeout_s), question_client(endpoint.url) as http:
            body: dict[str, JsonValue] = {"model": endpoint.model, "keep_alive": 0}
            answer = await ask(http, "/api/generate", body, timeout_s=timeout_s)
            if answer.status != httpx.codes.OK:
                raise RunFailed(f"{failed}: it answers HTTP {answer.status}")
            while _has_model((await ask(http, "/api/ps", timeout_s=timeout_s)).body, endpoint.model):  # noqa: ASYNC110
                await asyncio.sleep(0.05)
    except (NoAnswer, TimeoutError) as error:
        raise RunFailed(f"{failed}: {str(error) or 'it is still listed'}") from None


async def restore_keep_alive(endpoint: Endpoint, options: Mapping[str, JsonValue]) -> None:
    """Let an Ollama server keep the endpoint's model for its own time again; a load asks for more (OLLAMA_KEEP_ALIVE).

    `options` are those of the load, with which the model is loaded. Where it is not loaded any more, or the server does
    not answer, nothing is done.
    """
    with contextlib.suppress(NoAnswer):
        async with question_client(endpoint.url) as http:
            if not _has_model((await ask(http, "/api/ps")).body, endpoint.model):
                return
            await ask(http, "/api/generate", {"model": endpoint.model, "options": dict(options)})


def _has_model(listed: JsonValue, model: str) -> bool:
    """Return whether an answer of /api/tags or /api/ps lists the model."""
    return any(same_model(model, text_at(entry, "name") or "") for entry in objects_at(listed, "models"))
