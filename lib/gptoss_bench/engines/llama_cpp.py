"""Serve the tiny model with the embedded engine: llama.cpp's server from the xllamacpp wheel, as a child process."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.server_facts import Facts, add_facts, fetch
from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.runs import TINY_LABEL, model_label, package_version
from gptoss_client import Endpoint, UsageError, count_at, object_at, objects_at, text_at

MODEL_NAME = "gpt-oss-tiny"
MAKE_MINUTES = 4
EMBEDDED_START_S = 60.0  # limit of the wait for the first token of the tiny model


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """llama.cpp serving `model`, `slots` requests at a time with `context` tokens each."""

    model: Path = TINY_MODEL
    slots: int = 8
    context: int = 2048
    threads: int = 1
    log_name: str = "llama-server.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError where the model is missing or a size is below 1."""
        require_tiny(self.model)
        for name in ("slots", "context", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        return Endpoint(
            url="",
            model=MODEL_NAME,
            dialect="openai",
            engine="llama.cpp",
            version=f"xllamacpp {package_version('xllamacpp')}",
            label=TINY_LABEL,
            keep_alive=False,
            facts={"threads": self.threads},
        )

    def command(self, port: int) -> list[str]:
        """Return the command that runs `llama_server` with this Python."""
        sizes = {"slots": self.slots, "context": self.context, "threads": self.threads}
        texts = [f"--{name}={value}" for name, value in {"port": port, "alias": MODEL_NAME, **sizes}.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.llama_server", str(self.model), *texts]

    def environment(self, port: int) -> dict[str, str]:
        """Return no additional variables."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """Return the endpoint with what llama.cpp reports."""
        return await describe_llama(http, endpoint)


async def describe_llama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what llama.cpp reports.

    It closes its connection after each stream although it announces keep-alive.
    """
    props = (await fetch(http, "/props")).body
    listed = (await fetch(http, "/v1/models")).body
    meta = next((object_at(entry, "meta") for entry in objects_at(listed, "data")), {})
    parameters, build = count_at(meta, "n_params"), text_at(props, "build_info")
    facts: Facts = {
        "slots": count_at(props, "total_slots"),
        "context": count_at(object_at(props, "default_generation_settings"), "n_ctx"),
        "parameters": parameters,
        "model_bytes": count_at(meta, "size"),
        "build": build,
    }
    file_type = (text_at(props, "model_ftype") or "").split()
    described = replace(
        endpoint,
        version=endpoint.version or build,
        quantisation=file_type[0] if file_type else None,
        label=endpoint.label or model_label(endpoint.model, parameters),
        keep_alive=False,
    )
    return add_facts(described, facts)


def serve_tiny(
    log_dir: Path,
    *,
    slots: int = 8,
    context: int = 2048,
    threads: int = 1,
    model: Path = TINY_MODEL,
    cores: str = "",
) -> AbstractAsyncContextManager[Endpoint]:
    """Serve the tiny model until the block ends; its log is llama-server.log in `log_dir`.

    Args:
        log_dir: folder for the log.
        slots: requests decoded at the same time.
        context: tokens of one slot.
        threads: CPU threads; more than one slow each other down by spinning on shared cores.
        model: GGUF file.
        cores: cores of the server, as in `ServerChoice`.

    Raises:
        UsageError: a core or the model is missing, the model is no GGUF file, or no token came within
            EMBEDDED_START_S.
    """
    server = LlamaCpp(model=model, slots=slots, context=context, threads=threads)
    return launched(server, log_dir, timeout_s=EMBEDDED_START_S, cores=cores)


def require_tiny(model: Path = TINY_MODEL) -> None:
    """Raise UsageError where the tiny model is missing."""
    if not model.is_file():
        raise UsageError(f"the tiny model {model} is missing: run `make model` (about {MAKE_MINUTES} minutes)")
