"""Open an engine by name or URL: attach to it, start the embedded stand-in, or launch it; stop it on exit."""

from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from dataclasses import replace
from pathlib import Path

from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.model_files import is_fetched, local_model
from gptoss_bench.engines.ollama import running_service
from gptoss_bench.engines.ollama_emulator.engine import serve_emulator
from gptoss_bench.engines.random_model import resolve_model
from gptoss_bench.engines.registry import ENGINE_SPECS
from gptoss_bench.runs import join_labels
from gptoss_client import Endpoint, JsonValue

EMBEDDED_CONTEXT = 2048
LOADING_S = 900.0
DOWNLOADING_S = 3300.0  # less than a notebook cell may run


@asynccontextmanager
async def open_engine(
    server: ServerChoice,
    *,
    log_dir: Path,
    slots: int = 8,
    request_options: Mapping[str, JsonValue] | None = None,
) -> AsyncIterator[Endpoint]:
    """Yield an endpoint that has returned a token; what was started here is stopped on exit.

    An Ollama that runs as a service and has the model is attached to instead of started.

    Args:
        server: the server to attach to, or the engine to start.
        log_dir: folder for the server's log.
        slots: number of requests that a started engine decodes at a time, where it has such an option.
        request_options: those of the load that follows: Ollama loads its model by them.

    Raises:
        UsageError: the engine, its model or the server is not available; the message is one line.
    """
    url = server.url
    if server.starts:
        model = await resolve_model(server.engine, server.model or ENGINE_SPECS[server.engine].default_model)
        server = server.model_copy(update={"model": model})
        if server.engine == "ollama":
            url = await running_service(server.model) or ""
    if url:
        found = await attach(url, server.model, server.dialect, timeout_s=LOADING_S, options=request_options)
        yield replace(found, label=join_labels(found.label, server.label or None))
        return
    opened: AbstractAsyncContextManager[Endpoint]
    if server.embedded:
        serve = serve_emulator if server.engine == "ollama" else serve_tiny
        opened = serve(log_dir, slots=slots, context=server.context or EMBEDDED_CONTEXT, cores=server.engine_cores)
    else:
        engine = ENGINE_SPECS[server.engine].load_class().from_choice(server, slots)
        timeout_s = _start_timeout_s(server.engine, server.model)
        opened = launched(engine, log_dir, timeout_s=timeout_s, options=request_options, cores=server.engine_cores)
    async with opened as endpoint:
        yield endpoint


def _start_timeout_s(engine: str, model: str) -> float:
    """Return the limit of the wait for the first token of an engine that is launched."""
    downloads = ENGINE_SPECS[engine].downloads_weights and not (local_model(model) or is_fetched(model))
    return DOWNLOADING_S if downloads else LOADING_S
