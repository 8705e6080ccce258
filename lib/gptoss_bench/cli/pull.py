"""`python -m gptoss_bench pull`: download a model through a running Ollama, with a progress bar."""

import argparse
from typing import Any

from tqdm import tqdm

from gptoss_bench.engines import ENGINE_SPECS, clean_url, pull, service_url

EXAMPLE = """example:
  python -m gptoss_bench pull --model gpt-oss:20b"""


def add_parser(commands: Any) -> None:
    """Add `pull` to the commands."""
    parser = commands.add_parser(
        "pull",
        help="download a model through a running Ollama",
        description="Download a model through the API of a running Ollama and show the progress.",
        epilog=EXAMPLE,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    model = ENGINE_SPECS["ollama"].default_model
    parser.add_argument("--url", default=service_url(), help="root URL of the Ollama (default: %(default)s)")
    parser.add_argument("--model", default=model, help="model to download (default: %(default)s)")
    parser.set_defaults(run=run)


async def run(args: argparse.Namespace) -> int:
    """Download the model and return the exit code."""
    with tqdm(unit="B", unit_scale=True, unit_divisor=1000, disable=None) as bar:

        def progress(status: str, completed: int, total: int) -> None:
            bar.set_description_str(status)
            if total and total != bar.total:
                bar.reset(total)
            bar.update(completed - bar.n if completed else 0)

        await pull(clean_url(args.url), args.model, progress)
    print(f"{args.model} is downloaded")
    return 0
