"""Which server answers at an address, and what it says of itself: one line for each engine that the kit knows."""

from dataclasses import replace

import httpx

from gptoss_bench.client import KEY_VARIABLE
from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.asking import as_object, ask, asking, entries, with_facts
from gptoss_bench.engines.local import describe_llama
from gptoss_bench.engines.ollama import describe_ollama
from gptoss_bench.engines.transformers import describe_transformers
from gptoss_bench.engines.vllm import describe_vllm
from gptoss_bench.errors import UsageError
from gptoss_bench.run_labels import TRUTH_LABEL

TRUTH = "truth-server"  # the kit's own paced server: what it yields measures the client, not a model


async def identify(url: str) -> tuple[str, list[str]]:
    """Return the engine that answers at `url` and the models that it names (none where it does not tell).

    The engine is "llama.cpp", "truth-server", "ollama", "vllm", "transformers" or "openai-compatible", which is also
    what does not tell. Raises UsageError, in one line, where nothing answers there, where it is a web page, where a
    key is wanted.
    """
    async with asking(url) as http:
        listed = await ask(http, "/v1/models")
        if listed.status in (401, 403):
            raise UsageError(f"{url} refuses access (HTTP {listed.status}): put its key into {KEY_VARIABLE}")
        models = [str(entry["id"]) for entry in entries(listed.body, "data") if "id" in entry]
        if listed.server in ("llama.cpp", TRUTH):
            return listed.server, models
        if "version" in (await ask(http, "/api/version")).body:
            tags = await ask(http, "/api/tags")
            return "ollama", [str(entry["name"]) for entry in entries(tags.body, "models") if "name" in entry]
        if "version" in (await ask(http, "/version")).body:
            return "vllm", models
        if "html" in listed.content_type:
            raise UsageError(f"{url} answers with a web page and not with an API: give the root of a model server")
        if "/load_model" in (await ask(http, "/openapi.json")).body.get("paths", {}):
            return "transformers", []  # what it lists is the hub's cache, and not what it serves
        return "openai-compatible", models


async def describe(endpoint: Endpoint) -> Endpoint:
    """Return the endpoint with what its server says of itself. A question that it does not answer stays None."""
    async with asking(endpoint.url) as http:
        match endpoint.engine:
            case "llama.cpp":
                return await describe_llama(http, endpoint)
            case "vllm":
                return await describe_vllm(http, endpoint)
            case "ollama":
                return await describe_ollama(http, endpoint)
            case "transformers":
                return describe_transformers(endpoint)
            case "truth-server":
                return await describe_truth(http, endpoint)
        return endpoint


async def describe_truth(http: httpx.AsyncClient, endpoint: Endpoint) -> Endpoint:
    """Return the endpoint of the kit's own paced server with its plan, which is all that there is to it."""
    plan = as_object((await ask(http, "/truth")).body.get("plan"))
    return with_facts(replace(endpoint, label=endpoint.label or TRUTH_LABEL), plan)
