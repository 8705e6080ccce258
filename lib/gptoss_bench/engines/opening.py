"""One door to every engine: attached to, embedded or launched, ready when it opens and gone when it closes."""

import shlex
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch import Engine, launched
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.model_files import is_fetched, local_model
from gptoss_bench.engines.ollama import OLLAMA_DEFAULT_MODEL, Ollama, running_service
from gptoss_bench.engines.ollama_emulator.engine import serve_emulator
from gptoss_bench.engines.transformers import TRANSFORMERS_DEFAULT_MODEL, Transformers
from gptoss_bench.engines.vllm import VLLM_DEFAULT_MODEL, Vllm
from gptoss_client import Endpoint, UsageError

KINDS = ("ollama", "vllm", "transformers")
EMBEDDED_CONTEXT = 2048
LOADING_S, FETCHING_S = 900.0, 3300.0
CACHING = {"": None, "on": True, "off": False}


@dataclass(frozen=True, slots=True)
class LaunchOptions:
    """How an engine is to be started; what attaches or is embedded cannot be told.

    `slots` requests are decoded at a time and `context` tokens fit into each, where the engine lets itself be told;
    None leaves the context to it. `prefix_caching` is "on", "off" or "" for the engine's own default (vLLM alone can
    be told), `flags` are further words of its command line as a shell would read them. `options` are those of the
    load that follows: an Ollama loads its model by them.
    """

    slots: int = 8
    context: int | None = None
    prefix_caching: str = ""
    flags: str = ""
    options: Mapping[str, Any] | None = None

    @property
    def words(self) -> tuple[str, ...]:
        """The flags apart. Raises UsageError where a quotation mark is left open."""
        try:
            return tuple(shlex.split(self.flags))
        except ValueError as error:
            raise UsageError(f"the engine's flags {self.flags!r} cannot be read: {error}") from None


@asynccontextmanager
async def open_engine(
    kind: str,
    *,
    embedded: bool,
    url: str,
    model: str,
    log_dir: Path,
    wish: LaunchOptions | None = None,
    timeout_s: float | None = None,
) -> AsyncIterator[Endpoint]:
    """Yield an endpoint of which a token came back; what was started here is stopped when the block ends.

    With a `url` the server there is attached to and `embedded` counts for nothing. Embedded, the stand-in of that kind
    is started: the front with Ollama's API, or llama.cpp itself; its model is the tiny one, whatever `model` says.
    Else the real engine is launched, or attached to where Ollama runs as a service already. Logs go to `log_dir`.
    `timeout_s` bounds the wait for the first token; None is a quarter of an hour, and most of an hour where the weights
    have to be fetched first. Raises UsageError, in one line, where the engine or the model cannot be had as it is
    wished for.
    """
    wish = wish or LaunchOptions()
    check_options(kind, wish, started=not (url or embedded))
    if kind == "ollama" and not (url or embedded):
        url = await running_service(model or OLLAMA_DEFAULT_MODEL) or ""
        model = model or OLLAMA_DEFAULT_MODEL
    if url:
        # The address decides who answers there; a dialect is Ollama's where that is what is to be measured.
        dialect = "ollama" if kind == "ollama" else "openai"
        yield await attach(url, model, dialect, timeout_s=timeout_s or LOADING_S, options=wish.options)
        return
    server: AbstractAsyncContextManager[Endpoint]
    if embedded and kind == "ollama":
        server = serve_emulator(log_dir, slots=wish.slots, context=wish.context or EMBEDDED_CONTEXT)
    elif embedded:
        server = serve_tiny(log_dir, slots=wish.slots, context=wish.context or EMBEDDED_CONTEXT)
    else:
        engine = _engine(kind, model, wish)
        server = launched(engine, log_dir, timeout_s=timeout_s or _patience_s(engine), options=wish.options)
    async with server as endpoint:
        yield endpoint


def check_options(kind: str, wish: LaunchOptions, *, started: bool) -> None:
    """Raise UsageError where an engine of that kind cannot be told what is wished for."""
    if started and kind not in KINDS:
        raise UsageError(f"the engine {kind!r} is unknown: choose one of {', '.join(KINDS)}")
    if wish.prefix_caching not in CACHING:
        raise UsageError(f"prefix_caching is 'on', 'off' or '' for the engine's default, not {wish.prefix_caching!r}")
    if (wish.prefix_caching or wish.flags) and not started:
        raise UsageError("prefix_caching and engine_flags are for an engine that is started here: leave them empty")
    if wish.prefix_caching and kind != "vllm":
        raise UsageError(f"{kind} cannot be told about prefix caching: leave prefix_caching empty")
    if wish.flags and kind == "ollama":
        raise UsageError("ollama takes no flags: set its OLLAMA_… variables in the environment, they are recorded")


def _patience_s(engine: Engine) -> float:
    """Weights that have to be fetched take longer, though no longer than a cell of a notebook may run."""
    if isinstance(engine, Vllm | Transformers):
        return LOADING_S if local_model(engine.model) or is_fetched(engine.model) else FETCHING_S
    return LOADING_S


def _engine(kind: str, model: str, wish: LaunchOptions) -> Engine:
    match kind:
        case "ollama":
            return Ollama(model or OLLAMA_DEFAULT_MODEL, slots=wish.slots, context=wish.context)
        case "vllm":
            caching = CACHING[wish.prefix_caching]
            return Vllm(model or VLLM_DEFAULT_MODEL, wish.context, caching, wish.words)
    return Transformers(model or TRANSFORMERS_DEFAULT_MODEL, wish.words)
