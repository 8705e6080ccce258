"""Open an engine by name or URL: attach to it, start the embedded stand-in, or launch it; stop it on exit."""

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager, asynccontextmanager
from pathlib import Path

from gptoss_bench.engines.attached_server import attach
from gptoss_bench.engines.launch import launched
from gptoss_bench.engines.launch_options import LaunchOptions, check_options
from gptoss_bench.engines.llama_cpp import serve_tiny
from gptoss_bench.engines.model_files import is_fetched, local_model
from gptoss_bench.engines.ollama import running_service
from gptoss_bench.engines.ollama_emulator.engine import serve_emulator
from gptoss_bench.engines.registry import ENGINE_SPECS
from gptoss_client import Endpoint

EMBEDDED_CONTEXT = 2048
LOADING_S = 900.0
DOWNLOADING_S = 3300.0  # less than a notebook cell may run


@asynccontextmanager
async def open_engine(
    engine: str,
    *,
    embedded: bool,
    url: str,
    model: str,
    log_dir: Path,
    options: LaunchOptions | None = None,
    timeout_s: float | None = None,
) -> AsyncIterator[Endpoint]:
    """Yield an endpoint that has returned a token; what was started here is stopped on exit.

    With a `url`, attach to the server there. Else with `embedded`, start the stand-in of that engine on the tiny
    model, whatever `model` is: the Ollama emulator, or llama.cpp. Else launch the engine, or attach to Ollama where
    it runs as a service already.

    Args:
        engine: name of the engine, one of LAUNCHABLE_ENGINES.
        embedded: start the stand-in instead of the engine.
        url: root of a running server; empty to start one.
        model: model to serve; empty for the engine's default, or for the only one of a running server.
        log_dir: folder for the server's log.
        options: how to start the engine; None for the defaults.
        timeout_s: limit of the wait for the first token; None for LOADING_S, or DOWNLOADING_S where the weights have
            to be downloaded first.

    Raises:
        UsageError: the engine, its model or an option is not available; the message is one line.
    """
    options = options or LaunchOptions()
    starts = not (url or embedded)
    check_options(engine, options, started=starts)
    if starts:
        model = model or ENGINE_SPECS[engine].default_model
        if engine == "ollama":
            url = await running_service(model) or ""
    if url:
        # Any server of OpenAI's API may be at the URL; Ollama's own API is used where Ollama is to be measured.
        dialect = "ollama" if engine == "ollama" else "openai"
        yield await attach(url, model, dialect, timeout_s=timeout_s or LOADING_S, options=options.request_options)
        return
    server: AbstractAsyncContextManager[Endpoint]
    if embedded:
        serve = serve_emulator if engine == "ollama" else serve_tiny
        server = serve(log_dir, slots=options.slots, context=options.context or EMBEDDED_CONTEXT)
    else:
        chosen = ENGINE_SPECS[engine].load_class().from_options(model, options)
        timeout_s = timeout_s or _start_timeout_s(engine, model)
        server = launched(chosen, log_dir, timeout_s=timeout_s, options=options.request_options)
    async with server as endpoint:
        yield endpoint


def _start_timeout_s(engine: str, model: str) -> float:
    """Return the limit of the wait for the first token of an engine that is launched."""
    downloads = ENGINE_SPECS[engine].downloads_weights and not (local_model(model) or is_fetched(model))
    return DOWNLOADING_S if downloads else LOADING_S
