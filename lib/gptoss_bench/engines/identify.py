"""Recognise the engine of a running server by what it answers, whatever a proxy in front of it calls itself."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

from gptoss_bench.asking import Answer, question_client
from gptoss_bench.engines.ollama import EMULATOR_VERSION
from gptoss_bench.engines.registry import ENGINE_SPECS, METRIC_SOURCES, REFERENCE_SERVER
from gptoss_bench.engines.server_facts import fetch, refused_text
from gptoss_client import JsonValue, UsageError, object_at, objects_at, one_line, text_at

COMPATIBLE = "openai-compatible"  # a server whose engine is not recognised
PROOF = 2  # weight of signs from which on an engine is recognised
_MODELS = "/v1/models"
_OWN_PATHS = {spec.own_path: spec.name for spec in ENGINE_SPECS.values() if spec.own_path}
_PATHS = (
    *(_MODELS, "/reference", "/api/version", "/api/tags", "/", "/props", "/metrics", "/version", "/openapi.json"),
    *_OWN_PATHS,
)
Answers = Mapping[str, Answer]


@dataclass(frozen=True, slots=True)
class Identity:
    """The engine of a server (a name of ENGINE_SPECS, or "openai-compatible"), its models, and the signs seen.

    `speaks_ollama` is whether it answers Ollama's own API, as other servers do too. `listing` says in words what it
    lists.
    """

    engine: str
    models: list[str]
    signs: tuple[str, ...]
    speaks_ollama: bool
    listing: str


@dataclass(frozen=True, slots=True)
class _Sign:
    """A sign of an engine: of weight 2 where no other engine gives it, and it alone proves the engine, else of 1."""

    engine: str
    text: str
    weight: int
    seen: Callable[[Answers], bool]


def _owned_by(owner: str) -> Callable[[Answers], bool]:
    return lambda answers: any(
        text_at(entry, "owned_by") == owner for entry in objects_at(answers[_MODELS].body, "data")
    )


def _has(path: str, *names: str) -> Callable[[Answers], bool]:
    return lambda answers: all(name in answers[path].body for name in names)


def _answers_json(path: str) -> Callable[[Answers], bool]:
    return lambda answers: bool(answers[path].body)


def _metrics(prefix: str) -> Callable[[Answers], bool]:
    return lambda answers: f"\n{prefix}" in f"\n{answers['/metrics'].text}"


def _speaks_ollama(answers: Answers) -> bool:
    return "version" in answers["/api/version"].body and "models" in answers["/api/tags"].body


_SIGNS = (
    _Sign(REFERENCE_SERVER, "/reference has its plan", 2, _has("/reference", "plan")),
    _Sign("ollama", "/ says “Ollama is running”", 2, lambda at: at["/"].text.strip() == "Ollama is running"),
    _Sign(
        "ollama",
        "/api/version is that of the kit's emulator",
        2,
        lambda at: text_at(at["/api/version"].body, "version") == EMULATOR_VERSION,
    ),
    _Sign("ollama", "/api/version and /api/tags answer", 1, _speaks_ollama),
    _Sign("llama.cpp", "the Server header says llama.cpp", 1, lambda at: at[_MODELS].server == "llama.cpp"),
    _Sign("llama.cpp", "/v1/models is owned by llamacpp", 1, _owned_by("llamacpp")),
    _Sign("llama.cpp", "/props has build_info and total_slots", 1, _has("/props", "build_info", "total_slots")),
    _Sign("vllm", "/v1/models is owned by vllm", 1, _owned_by("vllm")),
    _Sign("vllm", "/version answers", 1, _has("/version", "version")),
    _Sign(
        "transformers",
        "/openapi.json has /load_model",
        2,
        lambda at: "/load_model" in object_at(at["/openapi.json"].body, "paths"),
    ),
    *(_Sign(name, f"/metrics has {prefix}…", 2, _metrics(prefix)) for prefix, name in METRIC_SOURCES.items()),
    *(_Sign(name, f"{path} answers", 2, _answers_json(path)) for path, name in _OWN_PATHS.items()),
)


async def identify(url: str) -> Identity:
    """Return the engine that answers at `url`, by the signs it gives, and the models that it lists.

    An engine is recognised by a sign that no other engine gives, or by two others; where two engines are equally
    likely, or none is, it is "openai-compatible". Raises UsageError where nothing answers, where the answer is a web
    page, or where the server requires a key.
    """
    async with question_client(url) as http:
        answers: dict[str, Answer] = {}
        for path in _PATHS:
            answers[path] = await fetch(http, path)
            if path == _MODELS and answers[path].status in (401, 403):
                raise UsageError(refused_text(url, answers[path].status))
    engine, signs = _recognised(answers)
    if engine == COMPATIBLE and "html" in answers[_MODELS].content_type:
        raise UsageError(f"{url} answers with a web page and not with an API: give the root of a model server")
    models = _models(engine, answers)
    return Identity(engine, models, signs, _speaks_ollama(answers), _listing(models, answers[_MODELS]))


def _recognised(answers: Answers) -> tuple[str, tuple[str, ...]]:
    """Return the engine and its signs; those of all engines where none is recognised."""
    seen = [sign for sign in _SIGNS if sign.seen(answers)]
    weights = {sign.engine: 0 for sign in seen}
    for sign in seen:
        weights[sign.engine] += sign.weight
    best = max(weights.values(), default=0)
    likely = [engine for engine, weight in weights.items() if weight == best]
    if best < PROOF or len(likely) > 1:
        return COMPATIBLE, tuple(f"{sign.text} ({sign.engine})" for sign in seen)
    return likely[0], tuple(sign.text for sign in seen if sign.engine == likely[0])


def _models(engine: str, answers: Answers) -> list[str]:
    if engine == "transformers":
        return []  # it lists the hub's cache and not what it serves
    if engine == "ollama":
        return _names(answers["/api/tags"].body, "models", "name")
    return _names(answers[_MODELS].body, "data", "id") or _names(answers["/api/tags"].body, "models", "name")


def _listing(models: list[str], answer: Answer) -> str:
    if models:
        return one_line(f"it lists {', '.join(models)}", 500)
    if answer.status in (0, 200):
        return "it lists none"
    return f"it lists none, {_MODELS} answers with HTTP {answer.status}"


def _names(body: JsonValue, entries: str, name: str) -> list[str]:
    return [found for entry in objects_at(body, entries) if (found := text_at(entry, name))]
