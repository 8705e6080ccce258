"""vLLM's own server, where `vllm` is installed."""

from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gptoss_bench.endpoint import Endpoint
from gptoss_bench.engines.asking import Facts, ask, entries, with_facts
from gptoss_bench.engines.checkpoint import local_model, require_room_for
from gptoss_bench.engines.labels import count_parameters
from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.versions import version_note
from gptoss_bench.engines.vllm_log import read_cache_config, read_log
from gptoss_bench.errors import UsageError
from gptoss_bench.run_labels import CPU_LABEL, joined, label_of, tiny_label

DEFAULT_MODEL = "openai/gpt-oss-20b"
ADVICE = "install it with make setup-vllm"


@dataclass(frozen=True, slots=True)
class Vllm:
    """`vllm serve MODEL` with vLLM's own defaults where nothing else is said.

    `model` is a name on the hub or a folder with a checkpoint, `context` caps --max-model-len, `prefix_caching` None
    leaves that to vLLM, `flags` are added as they are.
    """

    model: str = DEFAULT_MODEL
    context: int | None = None
    prefix_caching: bool | None = None
    flags: tuple[str, ...] = ()
    log_name: str = "vllm.log"
    cwd: Path | None = None

    def prepare(self) -> Endpoint:
        """Raise UsageError where there is no vllm, no such checkpoint, or no room on the disk to fetch it."""
        executable("vllm", "vllm", ADVICE)
        folder = local_model(self.model)
        if folder is None:
            require_room_for(self.model)
        label = tiny_label(count_parameters(folder)) if folder else None
        name = folder.name if folder else self.model
        return Endpoint(url="", model=name, dialect="openai", engine="vllm", label=label)

    def command(self, port: int) -> list[str]:
        """A checkpoint in a folder is served under the folder's bare name."""
        folder = local_model(self.model)
        named = [] if folder is None else ["--served-model-name", folder.name]
        capped = [] if self.context is None else ["--max-model-len", str(self.context)]
        cached = {None: [], True: ["--enable-prefix-caching"], False: ["--no-enable-prefix-caching"]}
        address = ["--host", "127.0.0.1", "--port", str(port)]
        program, model = executable("vllm", "vllm", ADVICE), str(folder or self.model)
        return [program, "serve", model, *address, *named, *capped, *cached[self.prefix_caching], *self.flags]

    def environment(self, port: int) -> dict[str, str]:
        """It is not to report its use to its makers, nor to ask the hub about a checkpoint that is here."""
        offline = {} if local_model(self.model) is None else {"HF_HUB_OFFLINE": "1"}
        return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0", **offline}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """Its API, /metrics and log. Raises UsageError where its prefix cache is not as it was asked for."""
        found = await describe_vllm(http, endpoint, log)
        caching = found.facts.get("prefix_caching")
        if None not in (self.prefix_caching, caching) and caching != self.prefix_caching:
            asked, told = ("on" if value else "off" for value in (self.prefix_caching, caching))
            raise UsageError(f"vLLM says that its prefix cache is {told}, and {asked} was asked for")
        return found


async def describe_vllm(http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
    """What vLLM says of itself: version and context by its API, caching by /metrics, the rest by its log.

    Where the checkpoint is in a folder of this machine, its weights are counted: a toy is labelled whoever serves it.
    """
    version = (await ask(http, "/version")).body.get("version")
    listed = entries((await ask(http, "/v1/models")).body, "data")
    ours: Facts = next((entry for entry in listed if entry.get("id") == endpoint.model), {})
    metrics = (await ask(http, "/metrics")).text
    facts = {"context": ours.get("max_model_len"), **read_log(log), **read_cache_config(metrics)}
    folder = Path(str(ours.get("root") or ""))
    parameters = count_parameters(folder) if folder.is_absolute() else None
    notes = version_note("vllm", version)
    if not metrics.count("vllm:"):
        notes.append("this vLLM shows no /metrics: its own timings are no witness of this run")
    on_cpu = CPU_LABEL if facts.get("device") == "cpu" else None
    described = replace(
        endpoint,
        version=version,
        quantisation=facts.pop("quantisation", None) or endpoint.quantisation,
        label=joined(endpoint.label or label_of(endpoint.model, parameters), on_cpu),
    )
    return with_facts(described, {**facts, "parameters": parameters}, *notes)
