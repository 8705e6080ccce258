"""Samples GPU, host and server gauges from outside: `python -m gptoss_bench.telemetry.sampler FILE --client PID`.

A process of its own at low priority, so that looking does not disturb what is looked at. A line of JSON a sample goes
to FILE; on stdin it gets `{"port": 8000, "metrics": "http://…/metrics"}`, and when stdin ends it ends too.
"""

import argparse
import asyncio
import contextlib
import json
import os
import select
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import httpx

from gptoss_bench.asking import NoAnswer, ask, question_client
from gptoss_bench.files import open_own
from gptoss_bench.telemetry.host_usage import Host
from gptoss_bench.telemetry.nvml import Gpus
from gptoss_bench.telemetry.prometheus_metrics import read_metrics
from gptoss_client import UsageError

GPU_S, HOST_S = 0.1, 0.25  # from one sample to the next
SERVER_S = 10.0  # seldom: vLLM writes its /metrics in the loop that also sends the tokens, and they wait for that
NICE = 10
TIMEOUT_S = 2.0


class Sampler:
    """The sources (GPU, host, server) and the file that gets their samples."""

    def __init__(self, output: IO[str], client: int) -> None:
        """Open what there is; the first line says which GPUs there are, or why none."""
        self._output = output
        self._lock = threading.Lock()  # the server's gauges come from a thread: it may be slow to answer
        self._gpus = Gpus()
        self._host = Host(client)
        self._metrics: str | None = None
        self.write("devices", {"devices": self._gpus.devices, "words": self._gpus.words})
        self._due_s = {"gpu": 0.0, "host": 0.0}
        self.take()

    def write(self, kind: str, row: dict[str, Any]) -> None:
        """Append one line, whole or not at all."""
        line = json.dumps({"of": kind, "timestamp_ns": time.perf_counter_ns(), **row}, separators=(",", ":"))
        with self._lock:
            self._output.write(line + "\n")
            self._output.flush()

    def tell(self, line: str) -> None:
        """Where the engine is, from now on."""
        reported = json.loads(line)
        self._host.watch(reported.get("port"))
        self._metrics = reported.get("metrics")

    def take(self) -> float:
        """Take the samples that are due; return the seconds until the next one is."""
        now_s = time.monotonic()
        if now_s >= self._due_s["host"]:
            self._timed("host", lambda: [self._host.sample()])
            self._due_s["host"] = now_s + HOST_S
        if self._gpus.devices and now_s >= self._due_s["gpu"]:
            self._timed("gpu", lambda: self._gpus.sample(self._host.ours))
            self._due_s["gpu"] = now_s + GPU_S
        due_s = min(self._due_s.values()) if self._gpus.devices else self._due_s["host"]
        return max(0.0, due_s - time.monotonic())

    def _timed(self, kind: str, ask: Callable[[], list[dict[str, Any]]]) -> None:
        timestamp_ns = time.perf_counter_ns()
        rows = ask()
        cost_s = (time.perf_counter_ns() - timestamp_ns) / 1e9
        for row in rows:
            self.write(kind, {**row, "timestamp_ns": timestamp_ns, "cost_s": cost_s})

    def ask_server(self, ended: threading.Event) -> None:
        """In a thread: the server's gauges, until `ended` is set or it turns out that it has none."""
        asked = None
        while not ended.wait(SERVER_S):
            url = self._metrics
            if url is None or url == asked:
                continue
            timestamp_ns = time.perf_counter_ns()
            try:
                read = read_metrics(asyncio.run(_metrics(url)))
            except UsageError:
                asked = url  # it has no gauge that we know: there is no use in asking again
                continue
            except NoAnswer:
                continue  # it may be busy, or starting
            row = {**read.gauges, "generation_tokens": read.counts.get("generation_tokens")}
            cost_s = (time.perf_counter_ns() - timestamp_ns) / 1e9
            self.write("server", {**row, "timestamp_ns": timestamp_ns, "cost_s": cost_s})


async def _metrics(url: str) -> str:
    """Return the text of a server's /metrics. Raises NoAnswer, and UsageError where it has none."""
    async with question_client(url) as http:
        answer = await ask(http, url, timeout_s=TIMEOUT_S)
    if answer.status != httpx.codes.OK:
        raise UsageError(f"HTTP {answer.status}")
    return answer.text


def main() -> int:
    """Sample until stdin ends. Exit code 1 where the file cannot be written."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("file", type=Path)
    parser.add_argument("--client", type=int, required=True)
    chosen = parser.parse_args()
    with contextlib.suppress(OSError, AttributeError):
        os.nice(NICE)
    ended = threading.Event()
    try:
        with open_own(chosen.file, "w", encoding="utf-8") as output:
            sampler = Sampler(output, chosen.client)
            threading.Thread(target=sampler.ask_server, args=(ended,), daemon=True).start()
            print("ready", flush=True)
            _serve(sampler)
    except OSError as error:
        print(f"telemetry cannot write to {chosen.file}: {error.strerror}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 0
    finally:
        ended.set()
    return 0


def _serve(sampler: Sampler) -> None:
    pause_s, left = 0.0, b""
    while True:
        ready, _, _ = select.select([0], [], [], pause_s)
        if ready:
            read = os.read(0, 4096)
            if not read:
                return
            *lines, left = (left + read).split(b"\n")
            for line in lines:
                sampler.tell(line.decode())
        pause_s = sampler.take()


if __name__ == "__main__":
    sys.exit(main())
