"""Launch vLLM and read what its API and its log report; log lines of an unknown form are ignored."""

import re
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import httpx

from gptoss_bench.engines.known_model import weights_name
from gptoss_bench.engines.launch import executable
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.model_files import checkpoint_label, count_parameters, local_model, require_disk_space_for
from gptoss_bench.engines.registry import version_notes
from gptoss_bench.engines.server_facts import Facts, add_facts, fetch
from gptoss_bench.runs import CPU_LABEL, join_labels
from gptoss_client import Endpoint, JsonValue, UsageError, count_at, objects_at, text_at

ADVICE = "install it with make setup-vllm"


@dataclass(frozen=True, slots=True)
class Vllm:
    """`vllm serve MODEL` with vLLM's own defaults where an option is not set.

    `model` is a name on the hub or a folder with a checkpoint, `context` is --max-model-len, `prefix_caching` None is
    vLLM's default, `flags` are appended unchanged.
    """

    model: str
    context: int | None = None
    prefix_caching: bool | None = None
    flags: tuple[str, ...] = ()
    log_name: str = "vllm.log"
    cwd: Path | None = None

    @classmethod
    def from_choice(cls, server: ServerChoice, slots: int) -> "Vllm":
        """Return the engine with the options of `server`; it needs no number of slots."""
        caching = {"": None, "on": True, "off": False}[server.prefix_caching]
        return cls(server.model, server.context or None, caching, server.arguments)

    def prepare(self) -> Endpoint:
        """Return the endpoint. Raises UsageError if vllm, the checkpoint or disk space is missing."""
        executable("vllm", "vllm", ADVICE)
        folder = local_model(self.model)
        if folder is None:
            require_disk_space_for(self.model)
        name = folder.name if folder else self.model
        return Endpoint(
            url="",
            model=name,
            dialect="openai",
            engine="vllm",
            label=checkpoint_label(name, folder) if folder else None,
        )

    def command(self, port: int) -> list[str]:
        """Return `vllm serve`; a checkpoint in a folder is served under the name of the folder."""
        folder = local_model(self.model)
        named = [] if folder is None else ["--served-model-name", folder.name]
        capped = [] if self.context is None else ["--max-model-len", str(self.context)]
        cached = {None: [], True: ["--enable-prefix-caching"], False: ["--no-enable-prefix-caching"]}
        address = ["--host", "127.0.0.1", "--port", str(port)]
        program, model = executable("vllm", "vllm", ADVICE), str(folder or self.model)
        return [program, "serve", model, *address, *named, *capped, *cached[self.prefix_caching], *self.flags]

    def environment(self, port: int) -> dict[str, str]:
        """Return variables that switch off usage reports, and requests to the hub about a local checkpoint."""
        offline = {} if local_model(self.model) is None else {"HF_HUB_OFFLINE": "1"}
        return {"VLLM_NO_USAGE_STATS": "1", "DO_NOT_TRACK": "1", "VLLM_LOGGING_COLOR": "0", **offline}

    async def describe(self, http: httpx.AsyncClient, endpoint: Endpoint, log: str) -> Endpoint:
        """Return the endpoint with what vLLM reports. Raises UsageError if its prefix cache is not as requested."""
        found = await describe_vllm(http, endpoint, log)
        caching = found.facts.get("prefix_caching")
        if None not in (self.prefix_caching, caching) and caching != self.prefix_caching:
            asked, reported = ("on" if value else "off" for value in (self.prefix_caching, caching))
            raise UsageError(f"vLLM reports that its prefix cache is {reported}, but {asked} was requested")
        return found


async def describe_vllm(http: httpx.AsyncClient, endpoint: Endpoint, log: str = "") -> Endpoint:
    """Return the endpoint with what vLLM reports: version and context (API), caching (/metrics), all else (log).

    The weights of a checkpoint on this machine are counted, so that a tiny model is labelled also where vLLM serves it.
    """
    version = text_at((await fetch(http, "/version")).body, "version")
    listed = objects_at((await fetch(http, "/v1/models")).body, "data")
    ours = next((entry for entry in listed if text_at(entry, "id") == endpoint.model), {})
    metrics = (await fetch(http, "/metrics")).text
    facts: Facts = {"context": count_at(ours, "max_model_len"), **read_log(log), **read_cache_config(metrics)}
    root = text_at(ours, "root") or ""
    folder = Path(root)
    local = folder if folder.is_absolute() else None
    parameters = count_parameters(local) if local else None
    notes = version_notes("vllm", version)
    if not metrics.count("vllm:"):
        notes.append("this vLLM has no /metrics: the run has no timings of the server")
    on_cpu = CPU_LABEL if facts.get("device") == "cpu" else None
    quantisation = text_at(facts, "quantisation")
    facts.pop("quantisation", None)
    described = replace(
        endpoint,
        version=version,
        quantisation=quantisation or endpoint.quantisation,
        label=join_labels(endpoint.label or checkpoint_label(endpoint.model, local), on_cpu),
    )
    return add_facts(described, {**facts, "parameters": parameters, "weights": weights_name(root) or None}, *notes)


# Name of a fact, pattern, conversion; the wordings are those of vLLM 0.10 to 0.33.
_LINES: tuple[tuple[str, str, Callable[[str], JsonValue]], ...] = (
    ("attention_backend", r"Using (\w+) (?:attention )?backend (?:out of potential backends|on V1 engine)", str),
    ("attention_backend", r"Using (Flash Attention|Flash-Attention|FlashInfer|Triton) backend", str),
    ("attention_backend", r"Using AttentionBackendEnum\.(\w+) backend", str),
    ("attention_backend", r"Using (\w+) attention backend", str),
    ("flash_attention_version", r"Using FlashAttention version (\d+)", int),
    ("moe_backend", r"Using ['\"]?([\w ]+?)['\"]? (?:Unquantized |Mxfp4 |MXFP4 )?MoE backend", str),
    ("moe_backend", r"Using (\w+) backend for (?:MXFP4|mxfp4) MoE", str),
    ("kv_cache_tokens", r"KV cache size: ([\d,]+) tokens", lambda text: int(text.replace(",", ""))),
    ("max_concurrency", r"Maximum concurrency for [\d,]+ tokens per request: ([\d.]+)x", float),
    ("device", r"device_config=(\w+)", str),
    ("dtype", r"dtype=torch\.(\w+)", str),
    ("quantisation", r" quantization=(\w+)", lambda text: None if text == "None" else text.upper()),
    ("tensor_parallel", r"tensor_parallel_size=(\d+)", int),
    ("pipeline_parallel", r"pipeline_parallel_size=(\d+)", int),
    ("data_parallel", r"data_parallel_size=(\d+)", int),
    ("enforce_eager", r"enforce_eager=(True|False)", lambda text: text == "True"),
    ("kv_cache_dtype", r"kv_cache_dtype=(\w+)", str),
    ("prefix_caching", r"enable_prefix_caching=(True|False)", lambda text: text == "True"),
    ("model_load_gib", r"Model loading took ([\d.]+) (?:GiB|GB)", float),
)


def read_log(log: str) -> Facts:
    """Return the facts in the output of a vLLM server: backends, device, sizes, parallelism, caching."""
    facts: Facts = {}
    for name, pattern, read in _LINES:
        if name not in facts and (found := re.search(pattern, log, re.ASCII)):
            with suppress(ValueError):  # of a number: the line has another form
                facts |= {} if (value := read(found[1])) is None else {name: value}
    if "quantisation" not in facts and "quantization=None" in log and "dtype" in facts:
        dtype = str(facts["dtype"])
        facts["quantisation"] = {"bfloat16": "BF16", "float16": "FP16"}.get(dtype, dtype)
    return facts


def read_cache_config(metrics: str) -> Facts:
    """Return the facts in the labels of vllm:cache_config_info of a /metrics text: caching and size of the cache."""
    line = re.search(r"^vllm:cache_config_info\{(.*)\} ", metrics, re.MULTILINE)
    if line is None:
        return {}
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line[1]))
    facts: Facts = {}
    if labels.get("enable_prefix_caching") in ("True", "False"):
        facts["prefix_caching"] = labels["enable_prefix_caching"] == "True"
    counts = {name: int(text) for name, text in labels.items() if re.fullmatch("[0-9]{1,9}", text)}
    if "kv_cache_size_tokens" in counts:
        facts["kv_cache_tokens"] = counts["kv_cache_size_tokens"]
    elif "num_gpu_blocks" in counts and "block_size" in counts:
        facts["kv_cache_tokens"] = counts["num_gpu_blocks"] * counts["block_size"]
    if labels.get("cache_dtype"):
        facts["kv_cache_dtype"] = labels["cache_dtype"]
    return facts
