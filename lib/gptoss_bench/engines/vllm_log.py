"""What vLLM's log says and its API does not. Text in, facts out; a line that a version words otherwise is no fact."""

import re
from collections.abc import Callable
from typing import Any

# The name of a fact, what to look for, how to read it. Wordings of vLLM 0.10 to 0.33.
_LINES: tuple[tuple[str, str, Callable[[str], Any]], ...] = (
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


def read_log(log: str) -> dict[str, Any]:
    """Return what the lines of a vLLM server's output tell: backends, device, sizes, parallelism, caching."""
    facts: dict[str, Any] = {}
    for name, pattern, read in _LINES:
        if name not in facts and (found := re.search(pattern, log)) and (value := read(found[1])) is not None:
            facts[name] = value
    if "quantisation" not in facts and "quantization=None" in log and "dtype" in facts:
        facts["quantisation"] = {"bfloat16": "BF16", "float16": "FP16"}.get(facts["dtype"], facts["dtype"])
    return facts


def read_cache_config(metrics: str) -> dict[str, Any]:
    """Return what the labels of vllm:cache_config_info in a /metrics text tell: caching and the cache's size."""
    line = re.search(r"^vllm:cache_config_info\{(.*)\} ", metrics, re.MULTILINE)
    if line is None:
        return {}
    labels = dict(re.findall(r'(\w+)="([^"]*)"', line[1]))
    facts: dict[str, Any] = {}
    if labels.get("enable_prefix_caching") in ("True", "False"):
        facts["prefix_caching"] = labels["enable_prefix_caching"] == "True"
    size, blocks, block = (labels.get(name, "") for name in ("kv_cache_size_tokens", "num_gpu_blocks", "block_size"))
    if size.isdigit():
        facts["kv_cache_tokens"] = int(size)
    elif blocks.isdigit() and block.isdigit():
        facts["kv_cache_tokens"] = int(blocks) * int(block)
    if labels.get("cache_dtype"):
        facts["kv_cache_dtype"] = labels["cache_dtype"]
    return facts
