"""List the engines that this kit knows, one row each; launch, attach, doctor and the notebook panel read it.

To add an engine, write its module (see `launch.Engine`) and add its row here.
"""

import pkgutil
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import Any

import httpx
from packaging.version import InvalidVersion, Version

from gptoss_client import Endpoint

DIALECTS = ("openai", "ollama")  # APIs of servers that the kit can use
REFERENCE_SERVER = "reference-server"  # the kit's own paced server: its figures measure the client, not a model


@dataclass(frozen=True, slots=True)
class EngineSpec:
    """Facts about one engine.

    `class_name` is the `launch.Engine` that starts it, "module:class"; None where `open_engine` cannot start it by
    name. `describe_name` is the function that adds what a running server reports to its endpoint. `request_fields`
    are the fields of a load plan, beyond those of its API, that the server understands; None where that is unknown.
    `own_path` is a path that only this engine answers with a JSON object: a running server is recognised by it.
    `environment_prefixes` select the variables that a run records. `metric_prefixes` start the names of its metrics,
    `no_metrics_advice` says what to do where a server of it has none. `program` is the program that the doctor looks
    for, on PATH and in build/`program`/bin, `install` the command that installs it; empty where there is none to check.
    `tried_versions` are releases; where there are none, versions are not checked. `first_version` is the first
    release that runs gpt-oss.
    """

    name: str
    title: str
    describe_name: str
    class_name: str | None = None
    request_fields: tuple[str, ...] | None = None
    own_path: str = ""
    environment_prefixes: tuple[str, ...] = ()
    metric_prefixes: tuple[str, ...] = ()
    no_metrics_advice: str = ""
    program: str = ""
    install: str = ""
    default_model: str = ""
    downloads_weights: bool = False  # from the Hugging Face hub, when it starts
    has_prefix_caching_option: bool = False
    has_flags: bool = False
    tried_versions: tuple[str, ...] = ()
    first_version: tuple[int, ...] = ()

    def load_class(self) -> Any:
        """Import and return the class that starts this engine."""
        assert self.class_name is not None
        return pkgutil.resolve_name(f"gptoss_bench.engines.{self.class_name}")

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
        """Return the endpoint with what its running server reports."""
        describe: Callable[[httpx.AsyncClient, Endpoint], Awaitable[Endpoint]]
        describe = pkgutil.resolve_name(f"gptoss_bench.engines.{self.describe_name}")
        return await describe(http, endpoint)


_SPECS = (
    EngineSpec(
        name="llama.cpp",
        title="llama.cpp",
        describe_name="llama_cpp:describe_llama",
        class_name="llama_gguf:LlamaServer",
        request_fields=("ignore_eos", "token_counts"),
        metric_prefixes=("llamacpp:",),
        no_metrics_advice="start it with --metrics",
        has_flags=True,
    ),
    EngineSpec(
        name="ollama",
        title="Ollama",
        describe_name="ollama:describe_ollama",
        class_name="ollama:Ollama",
        request_fields=(),
        environment_prefixes=("OLLAMA_",),
        no_metrics_advice="use --dialect ollama: its own API sends its durations with each response",
        program="ollama",
        install="curl -fsSL https://ollama.com/install.sh | sh",
        default_model="gpt-oss:20b",
        tried_versions=("0.11", "0.33"),  # 0.11.4 and 0.33.0-rc2, with the tiny model on a CPU
        first_version=(0, 11, 0),
    ),
    EngineSpec(
        name="vllm",
        title="vLLM",
        describe_name="vllm:describe_vllm",
        class_name="vllm:Vllm",
        request_fields=("ignore_eos", "min_tokens", "token_counts"),
        environment_prefixes=("VLLM_",),
        metric_prefixes=("vllm:",),
        program="vllm",
        install="make setup-vllm",
        default_model="openai/gpt-oss-20b",
        downloads_weights=True,
        has_prefix_caching_option=True,
        has_flags=True,
        tried_versions=("0.26", "0.32"),  # 0.26 on an H100 with random weights, 0.32 on a CPU
        first_version=(0, 10, 1),
    ),
    EngineSpec(
        name="transformers",
        title="transformers",
        describe_name="transformers:describe_transformers",
        class_name="transformers:Transformers",
        request_fields=(),
        program="transformers",
        install="make setup-transformers",
        default_model="openai/gpt-oss-20b",
        downloads_weights=True,
        has_flags=True,
        tried_versions=("5.23", "5.24"),  # run on a CPU
    ),
    EngineSpec(
        name=REFERENCE_SERVER,
        title="reference server",
        describe_name="attached_server:describe_reference",
    ),
)
ENGINE_SPECS = {spec.name: spec for spec in _SPECS}
CHECKED_ENGINES = tuple(spec.name for spec in _SPECS if spec.program)  # by the doctor
LAUNCHABLE_ENGINES = tuple(spec.name for spec in _SPECS if spec.class_name)
METRIC_SOURCES = {prefix: spec.name for spec in _SPECS for prefix in spec.metric_prefixes}


def no_metrics_advice(engine: str) -> str:
    """Return what to do where a server of an engine has no /metrics; empty where nothing is known."""
    spec = ENGINE_SPECS.get(engine)
    return "" if spec is None else spec.no_metrics_advice


def understood_fields(engine: str) -> tuple[str, ...] | None:
    """Return the extra request fields that an engine understands; None where that is unknown."""
    spec = ENGINE_SPECS.get(engine)
    return None if spec is None else spec.request_fields


def release_of(version: str | None) -> tuple[int, ...]:
    """Return the numbers of a version; none where it is unknown or not a version as PEP 440 writes it."""
    try:
        return Version(version or "").release
    except InvalidVersion:
        return ()


def is_tried(engine: str, version: str | None) -> bool:
    """Return whether the kit was tried with this release of the engine."""
    return release_of(version)[:2] in [release_of(release) for release in ENGINE_SPECS[engine].tried_versions]


def tried_releases(engine: str) -> str:
    """Return the releases that the kit was tried with as text, such as "0.11.x, 0.12.x"."""
    return ", ".join(f"{release}.x" for release in ENGINE_SPECS[engine].tried_versions)


def version_notes(engine: str, version: str | None) -> list[str]:
    """Return a note where the engine's version is unknown or was not tried, else nothing."""
    if version is None:
        return [f"{engine} does not report its version; this kit was tried with {tried_releases(engine)}"]
    if is_tried(engine, version):
        return []
    return [f"this kit was not tried with {engine} {version}, only with {tried_releases(engine)}: names may differ"]
