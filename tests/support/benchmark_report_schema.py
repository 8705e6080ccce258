"""What llm-d's Benchmark Report 0.2.1 requires, as facts of its schema: fields, which are required, units and choices.

`find_violations` needs neither pydantic nor this kit, so that it does not share a mistake with the code that writes.
"""

from itertools import chain
from math import inf
from typing import Any

NUMBER, WHOLE, TEXT, ANY = "number", "whole number", "text", "any"
PERCENTILES = ("mode", "min", "p0p1", "p1", "p5", "p10", "p25", "p50", "p75", "p90", "p95", "p99", "p99p9", "max")
TIME, TOKEN_TIME = ("ms", "s"), ("ms/token", "s/token")
TOKEN_RATE, REQUEST_RATE, QUANTITY = ("tokens/s",), ("queries/s",), ("count", "pixels")


def statistics(units: tuple[str, ...]) -> dict[str, Any]:
    """A quantity: its units and its mean are required."""
    return {"units!": units, "mean!": NUMBER, "stddev": NUMBER, **dict.fromkeys(PERCENTILES, NUMBER)}


LENGTH = {
    "distribution!": ("fixed", "gaussian", "uniform", "other"),
    "value!": NUMBER,
    "std_dev": NUMBER,
    "min": WHOLE,
    "max": WHOLE,
}
NATIVE = {"args": ANY, "envars": ANY, "config": ANY}
ENGINE = {
    "kind!": ("inference_engine",),
    "tool!": TEXT,
    "tool_version!": TEXT,
    "role!": ("replica", "prefill", "decode"),
    "replicas!": WHOLE,
    "model!": {"name!": TEXT},
    "accelerator!": {
        "model!": TEXT,
        "count!": WHOLE,
        "parallelism!": dict.fromkeys(("tp", "dp", "dp_local", "workers", "ep", "pp"), WHOLE),
    },
}
GENERIC = {"kind!": ("generic",), "tool!": TEXT, "tool_version!": TEXT, "*": ANY}
LOAD = {
    "metadata!": {"schema_version": TEXT, "cfg_id": TEXT, "description": TEXT},
    "standardized!": {
        "tool!": TEXT,
        "tool_version!": TEXT,
        "parallelism": WHOLE,
        "source!": ("random", "sampled", "unknown"),
        "stage": WHOLE,
        "input_seq_len!": LENGTH,
        "output_seq_len": LENGTH,
        "prefix": ANY,
        "multi_turn": ANY,
        "rate_qps": NUMBER,
        "concurrency": WHOLE,
    },
    "native!": NATIVE,
}
REPORT = {
    "version!": ("0.2.1",),
    "run!": {
        **dict.fromkeys(("eid", "cid", "pid", "user", "description"), TEXT),
        "uid!": TEXT,
        "time": {"start": TEXT, "end": TEXT, "duration": TEXT},
        "keywords": [TEXT],
    },
    "scenario": {
        "stack": [
            {
                "metadata!": {"schema_version": TEXT, "label!": TEXT, "cfg_id!": TEXT, "description": TEXT},
                "standardized!": (ENGINE, GENERIC),
                "native!": NATIVE,
            }
        ],
        "load": LOAD,
    },
    "results!": {
        "request_performance": {
            "aggregate": {
                "requests": {
                    "total!": WHOLE,
                    "failures": WHOLE,
                    "incomplete": WHOLE,
                    "input_length": statistics(QUANTITY),
                    "output_length": statistics(QUANTITY),
                    "request_size": ANY,
                    "multimodal": ANY,
                },
                "latency": {
                    "time_to_first_token": statistics(TIME),
                    "normalized_time_per_output_token": statistics(TOKEN_TIME),
                    "time_per_output_token": statistics(TOKEN_TIME),
                    "inter_token_latency": statistics(TOKEN_TIME),
                    "request_latency": statistics(TIME),
                },
                "throughput": {
                    "input_token_rate": statistics(TOKEN_RATE),
                    "output_token_rate": statistics(TOKEN_RATE),
                    "total_token_rate": statistics(TOKEN_RATE),
                    "request_rate": statistics(REQUEST_RATE),
                },
            },
            "time_series": ANY,
        },
        "observability": ANY,
        "profiling": ANY,
        "component_health": ANY,
    },
}


def find_violations(found: Any, wanted: Any = REPORT, at: str = "report") -> list[str]:
    """Every place of a report that breaks the schema: another type, a missing field, one that it does not have."""
    if isinstance(wanted, dict):
        if not isinstance(found, dict):
            return [f"{at} is no mapping"]
        fields = {name.removesuffix("!"): inner for name, inner in wanted.items()}
        missing = [name for name in wanted if name.endswith("!") and name[:-1] not in found]
        unknown = [name for name in found if name not in fields and "*" not in fields]
        inner = [
            find_violations(value, fields[name], f"{at}.{name}") for name, value in found.items() if name in fields
        ]
        return [*(f"{at} lacks {name}" for name in missing), *(f"{at} has {name}" for name in unknown), *chain(*inner)]
    if isinstance(wanted, list):
        return [*chain(*(find_violations(one, wanted[0], f"{at}[{n}]") for n, one in enumerate(found)))]
    if isinstance(wanted, tuple) and isinstance(wanted[0], dict):
        return min((find_violations(found, one, at) for one in wanted), key=len)
    if isinstance(wanted, tuple):
        return [] if found in wanted else [f"{at} is {found!r}"]
    number = isinstance(found, int | float) and not isinstance(found, bool) and 0 <= found < inf
    fits = {NUMBER: number, WHOLE: number and isinstance(found, int), TEXT: isinstance(found, str), ANY: True}
    return [] if fits[wanted] else [f"{at} is {found!r}, no {wanted}"]
