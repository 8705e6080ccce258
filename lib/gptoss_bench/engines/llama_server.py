"""Serve a GGUF file with llama.cpp until a signal ends it.

Run as `python -m gptoss_bench.engines.llama_server MODEL --port P …`; `llama_cpp` starts it. It imports nothing of
the kit.
"""

import argparse
import signal
import threading
from pathlib import Path

import xllamacpp


def main() -> None:
    """Serve one GGUF file on 127.0.0.1."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model", type=Path)
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--alias", default="gpt-oss-tiny", help="the name that requests use")
    parser.add_argument("--slots", type=int, default=8, help="requests decoded at the same time")
    parser.add_argument("--context", type=int, default=2048, help="tokens of one slot, prompt and reply together")
    parser.add_argument("--threads", type=int, default=1, help="more are slower on shared cores, because they spin")
    chosen = parser.parse_args()

    parameters = xllamacpp.CommonParams()
    parameters.model.path = str(chosen.model)
    parameters.model_alias = {chosen.alias}
    parameters.hostnames = ["127.0.0.1"]
    parameters.port = chosen.port
    parameters.n_parallel = chosen.slots
    parameters.n_ctx = chosen.context * chosen.slots
    parameters.cpuparams.n_threads = chosen.threads
    parameters.cpuparams_batch.n_threads = chosen.threads
    parameters.cache_ram_mib = 0  # llama.cpp would keep up to 8 GiB of past prompts in main memory
    parameters.use_jinja = True
    parameters.endpoint_metrics = True
    parameters.endpoint_slots = True
    parameters.ui = False
    ended = threading.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda _received, _frame: ended.set())
    server = xllamacpp.Server(parameters)
    print(f"serving {chosen.model.name} at {server.listening_address}", flush=True)
    ended.wait()


if __name__ == "__main__":
    main()
