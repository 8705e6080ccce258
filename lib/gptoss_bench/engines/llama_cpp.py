"""The embedded engine: the llama.cpp server of the xllamacpp wheel on the tiny model, as a child process."""

import sys
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, replace
from importlib.metadata import version
from pathlib import Path

import httpx

from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.questions import Facts, as_object, ask, entries, with_facts
from gptoss_bench.paths import TINY_MODEL
from gptoss_bench.runs import TINY_LABEL, tiny_model_label
from gptoss_client import Endpoint, UsageError

MODEL_NAME = "gpt-oss-tiny"
MAKE_MINUTES = 4


@dataclass(frozen=True, slots=True)
class LlamaCpp:
    """`model` served by llama.cpp, `slots` requests at a time with `context` tokens each."""

    model: Path = TINY_MODEL
    slots: int = 8
    context: int = 2048
    threads: int = 1
    log_name: str = "llama-server.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Raise UsageError where the model is missing or a size makes no sense."""
        require_tiny(self.model)
        for name in ("slots", "context", "threads"):
            if getattr(self, name) < 1:
                raise UsageError(f"{name} must be 1 or more, not {getattr(self, name)}")
        return Endpoint(
            url="",
            model=MODEL_NAME,
            dialect="openai",
            engine="llama.cpp",
            version=f"xllamacpp {version('xllamacpp')}",
            label=TINY_LABEL,
            keep_alive=False,
            facts={"threads": self.threads},
        )

    def command(self, port: int) -> list[str]:
        """The server as a child of this Python."""
        sizes = {"slots": self.slots, "context": self.context, "threads": self.threads}
        texts = [f"--{name}={value}" for name, value in {"port": port, "alias": MODEL_NAME, **sizes}.items()]
        return [sys.executable, "-m", "gptoss_bench.engines.llama_server", str(self.model), *texts]

    def environment(self, port: int) -> dict[str, str]:
        """None is needed."""
        return {}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
        """As any llama.cpp."""
        return await describe_llama(http, endpoint)


async def describe_llama(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """What llama.cpp says of itself. It closes its connection after each stream although it announces keep-alive."""
    props = (await ask(http, "/props")).body
    listed = (await ask(http, "/v1/models")).body
    meta: Facts = next((as_object(entry.get("meta")) for entry in entries(listed, "data")), {})
    parameters = meta.get("n_params")
    facts = {
        "slots": props.get("total_slots"),
        "context": as_object(props.get("default_generation_settings")).get("n_ctx"),
        "parameters": parameters,
        "model_bytes": meta.get("size"),
        "build": props.get("build_info"),
    }
    file_type = str(props.get("model_ftype") or "").split()
    described = replace(
        endpoint,
        version=endpoint.version or props.get("build_info"),
        quantisation=file_type[0] if file_type else None,
        label=endpoint.label or tiny_model_label(parameters),
        keep_alive=False,
    )
    return with_facts(described, facts)


def serve_tiny(
    log_dir: Path,
    *,
    slots: int = 8,
    context: int = 2048,
    threads: int = 1,
    port: int = 0,
    model: Path = TINY_MODEL,
    timeout_s: float = 60.0,
) -> AbstractAsyncContextManager[Endpoint]:
    """Serve `model` for the length of the block, `slots` requests at a time with `context` tokens each.

    One thread by default: two on two shared cores wait for each other by spinning. The server's output goes to
    llama-server.log in `log_dir`. Raises UsageError where the model is missing or no file of that kind, where the port
    is taken, and where no token comes back within `timeout_s`.
    """
    server = LlamaCpp(model=model, slots=slots, context=context, threads=threads)
    return launched(server, log_dir, port=port, timeout_s=timeout_s)


def require_tiny(model: Path = TINY_MODEL) -> None:
    """Raise UsageError where the tiny model is not there."""
    if not model.is_file():
        raise UsageError(f"the tiny model {model} is missing: make model makes it again (about {MAKE_MINUTES} minutes)")
