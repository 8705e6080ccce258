"""Send a load with the request function of SGLang's benchmark, and write the times as JSON.

Runs in a Python that has the package sglang without its dependencies for GPUs, so the package is not imported as a
whole: only its benchmark, with stand-ins for the three names that this takes from the server. The closed loop is one
semaphore, as in that benchmark; each request has a session of its own, which is part of its request function.
"""

import argparse
import asyncio
import importlib.util
import json
import sys
import time
import types
from pathlib import Path
from typing import Any

PROMPT = "Explain quantum mechanics in one paragraph."
NAN = float("nan")


def request_functions() -> Any:
    """Import and return `sglang.benchmark.serving` without the packages above it."""
    found = importlib.util.find_spec("sglang")  # finds the package without running it
    assert found is not None and found.submodule_search_locations is not None
    root = Path(found.submodule_search_locations[0])
    for name in ("sglang", "sglang.srt", "sglang.srt.disaggregation", "sglang.srt.utils"):
        package = types.ModuleType(name)
        package.__path__ = [str(root.joinpath(*name.split(".")[1:]))]
        sys.modules[name] = package
    names: dict[str, dict[str, object]] = {
        "sglang.srt.disaggregation.utils": {"FAKE_BOOTSTRAP_HOST": "2.2.2.2"},
        "sglang.srt.utils.network": {"resolve_base_url": str, "resolve_host_port": str},
    }
    for name, values in names.items():
        module = types.ModuleType(name)
        vars(module).update(values)
        sys.modules[name] = module
    serving = importlib.import_module("sglang.benchmark.serving")
    serving.set_global_args(argparse.Namespace(disable_stream=False, disable_ignore_eos=True, header=None))
    return serving


async def send_all(serving: Any, url: str, streams: int, requests: int, tokens: int) -> list[Any]:
    """Return the outputs of all requests, `streams` at a time, in the order in which they began."""
    slots = asyncio.Semaphore(streams)

    async def send() -> Any:
        asked = serving.RequestFuncInput(
            prompt=PROMPT,
            api_url=f"{url}/v1/chat/completions",
            prompt_len=0,
            output_len=tokens,
            model="reference",
            lora_name="",
            image_data=None,
            extra_request_body={"stream_options": {"include_usage": True}},
        )
        async with slots:
            return await serving.async_request_openai_chat_completions(asked)

    return list(await asyncio.gather(*(send() for _ in range(requests))))


def run(url: str, out: str, streams: str, requests: str, tokens: str) -> None:
    """Send the load and write the tables to the file `out`; CPU time is counted until the last response has ended."""
    serving = request_functions()
    cpu_s = time.process_time()
    outputs = asyncio.run(send_all(serving, url, int(streams), int(requests), int(tokens)))
    cpu_s = time.process_time() - cpu_s
    done = [one for one in outputs if one.success]
    sent: dict[str, list[Any]] = {"request_id": [], "sent_ns": [], "ttft_s": []}
    events: dict[str, list[Any]] = {"request_id": [], "event": [], "arrival_ns": [], "itl_s": []}
    for request_id, one in enumerate(done):
        for values, value in zip(sent.values(), (request_id, round(one.start_time * 1e9), one.ttft), strict=True):
            values.append(value)
        for event, gap_s in enumerate((NAN, *one.itl), start=1):  # event 0 is the role chunk, which it leaves out
            for values, value in zip(events.values(), (request_id, event, 0, gap_s), strict=True):
                values.append(value)
    Path(out).write_text(json.dumps({"cpu_s": cpu_s, "requests": sent, "events": events}))


if __name__ == "__main__":
    run(*sys.argv[1:])
