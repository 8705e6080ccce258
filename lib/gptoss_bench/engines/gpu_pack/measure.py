"""Start vLLM with random weights once, run the published load three times at temperature 0 and 1, then stop it.

Run as `python -m gptoss_bench.engines.gpu_pack.measure [MODEL]`; `start.py` of a pack does so.
"""

import asyncio
import sys
from pathlib import Path

from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.engines.open import open_engine
from gptoss_bench.paths import BUILD

MODEL = "random:gpt-oss-20b"
LOAD = ["--concurrency", "256", "--requests", "2000", "--warmup", "256", "--max-tokens", "256", "--repeats", "3"]


async def measure(model: str = MODEL) -> int:
    """Return the exit code of the first load that fails, 0 if none does. Raises UsageError if vLLM does not start."""
    async with open_engine(ServerChoice(engine="vllm", model=model), log_dir=BUILD / "logs") as endpoint:
        print(f"{endpoint.label}: vLLM {endpoint.version} was ready after {endpoint.ready_s} s", flush=True)
        for temperature in ("0", "1"):
            load = ["load", "--url", endpoint.url, "--model", endpoint.model, *LOAD, "--temperature", temperature]
            process = await asyncio.create_subprocess_exec(sys.executable, "-m", "gptoss_bench", *load)
            if code := await process.wait():
                return code
    print(f"the log of vLLM: {(Path(BUILD) / 'logs' / 'vllm.log').resolve()}", flush=True)
    return 0


if __name__ == "__main__":
    sys.exit(asyncio.run(measure(*sys.argv[1:])))
