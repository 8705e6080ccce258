"""Add the model of a GGUF file to an Ollama by its API: upload the file as a blob, then create a model of it."""

import asyncio
import hashlib
from collections.abc import AsyncIterator
from pathlib import Path

import httpx

from gptoss_bench.asking import NoAnswer, ask, question_client
from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.ollama import ADVICE, manifest_of, model_store, service_url
from gptoss_bench.engines.process import LOOPBACK, ServerProcess, free_port
from gptoss_bench.paths import BUILD
from gptoss_client import JsonValue, UsageError, one_line, text_at

# Ollama parses harmony where the template has its control tokens; it does not use the chat template of the file.
TEMPLATE = (
    "<|start|>system<|message|>You are ChatGPT, a large language model trained by OpenAI.\n"
    "Knowledge cutoff: 2024-06\n\nReasoning: medium\n\n"
    "# Valid channels: analysis, commentary, final. Channel must be included for every message.<|end|>"
    "{{ range .Messages }}<|start|>{{ .Role }}<|message|>{{ .Content }}<|end|>{{ end }}<|start|>assistant"
)
PIECE_BYTES = 2**22
START_S = 60.0
CREATE_S = 1800.0  # Ollama reads and copies the whole file


async def add_model(name: str, file: Path) -> None:
    """Add a model to the Ollama service of this machine if it runs, else to the store of this user, once.

    Raises UsageError where Ollama is not installed and no service runs, and with Ollama's words where it refuses.
    """
    if await _answers(service_url()):
        await create_model(service_url(), name, file)
    elif not manifest_of(model_store(), name).is_file():
        program = executable("ollama", "ollama", ADVICE)
        with free_port() as port:
            address = f"{LOOPBACK}:{port}"
            process = ServerProcess(
                [program, "serve"], BUILD / "random" / "ollama-create.log", {"OLLAMA_HOST": address}
            )
            try:
                await _wait_for_start(process, f"http://{address}")
                await create_model(f"http://{address}", name, file)
            finally:
                await process.stop()


async def create_model(url: str, name: str, file: Path) -> None:
    """Create a model of a GGUF file on a running Ollama, unless it has a model of this name.

    Raises UsageError with Ollama's words where it refuses.
    """
    async with question_client(url) as http:
        shown = await _asked(http, "/api/show", {"model": name})
        if shown.status_code == httpx.codes.OK:
            return
        digest = f"sha256:{await asyncio.to_thread(_sha256, file)}"
        if (await http.head(f"/api/blobs/{digest}")).status_code != httpx.codes.OK:
            sent = await http.post(f"/api/blobs/{digest}", content=_pieces(file), timeout=CREATE_S)
            _require_success(sent, f"{file.name} cannot be uploaded to {url}")
        files: dict[str, JsonValue] = {file.name: digest}
        body: dict[str, JsonValue] = {"model": name, "files": files, "template": TEMPLATE, "stream": False}
        made = await _asked(http, "/api/create", body)
        _require_success(made, f"{name} cannot be created at {url}")


async def _asked(http: httpx.AsyncClient, path: str, body: dict[str, JsonValue]) -> httpx.Response:
    try:
        return await http.post(path, json=body, timeout=CREATE_S)
    except httpx.HTTPError as error:
        raise UsageError(
            f"{http.base_url} gave no answer to {path}: {one_line(str(error)) or 'it hangs up'}"
        ) from error


def _require_success(response: httpx.Response, failed: str) -> None:
    try:
        words = text_at(response.json(), "error") if response.content else None
    except ValueError:
        words = "its answer is not JSON"
    if response.is_success and words is None:
        return
    raise UsageError(f"{failed} (HTTP {response.status_code}): {one_line(words or 'no reason is given')}")


async def _answers(url: str) -> bool:
    try:
        async with question_client(url) as http:
            return (await ask(http, "/api/version")).status == httpx.codes.OK
    except (NoAnswer, UsageError, httpx.InvalidURL):
        return False


async def _wait_for_start(process: ServerProcess, url: str) -> None:
    try:
        async with asyncio.timeout(START_S):
            while not await _answers(url):
                if process.exit_code is not None:
                    raise UsageError(f"ollama serve ended with exit code {process.exit_code}: {process.last_lines()}")
                await asyncio.sleep(0.1)
    except TimeoutError:
        raise UsageError(f"ollama serve does not answer within {START_S:g} s (log {process.log})") from None


async def _pieces(file: Path) -> AsyncIterator[bytes]:
    with file.open("rb") as content:
        while piece := await asyncio.to_thread(content.read, PIECE_BYTES):
            yield piece


def _sha256(file: Path) -> str:
    with file.open("rb") as content:
        return hashlib.file_digest(content, "sha256").hexdigest()
