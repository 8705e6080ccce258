"""This kit's client as a user calls it, `python -m gptoss_bench load`, with the CPU of all of it but the imports."""

import contextlib
import io
import json
import sys
import time
from pathlib import Path

from gptoss_bench import __main__ as shell


def run(url: str, out: str, streams: str, requests: str, tokens: str) -> int:
    """Leave a run folder below OUT's folder, and in OUT how much CPU it took. Returns the command's exit code."""
    folder = Path(out).parent
    wanted = ["--url", url, "--model", "truth", "-c", streams, "-n", requests, "--max-tokens", tokens]
    words = io.StringIO()
    cpu_s = time.process_time()
    with contextlib.redirect_stdout(words):
        code = shell.main(["load", *wanted, "--results", str(folder)])
    cpu_s = time.process_time() - cpu_s
    [path] = (folder / "runs").iterdir()
    Path(out).write_text(json.dumps({"cpu_s": cpu_s, "run": str(path)}))
    return code


if __name__ == "__main__":
    sys.exit(run(*sys.argv[1:]))
