"""`gptoss-bench lab`: open working copies of the notebooks in JupyterLab."""

from pathlib import Path
from typing import Annotated

import typer

from gptoss_client import UsageError

EXAMPLE = "example, over ssh: gptoss-bench lab -- --no-browser --port=8888"


def lab(
    options: Annotated[
        list[str] | None, typer.Argument(metavar="OPTION", help="options of JupyterLab, after --")
    ] = None,
    *,
    folder: Annotated[
        Path | None, typer.Option(metavar="DIR", help="folder of the working copies (default: build/lab)")
    ] = None,
) -> int:
    """Open JupyterLab at working copies of the notebooks, so that running them changes no file of the repository."""
    import subprocess

    from gptoss_bench import paths
    from gptoss_bench.notebook import lab_command, lab_environment, prepare_lab

    if not paths.NOTEBOOKS.is_dir():
        raise UsageError(f"there are no notebooks in {paths.NOTEBOOKS}: run this command in a checkout of the kit")
    where = (folder or paths.BUILD / "lab").absolute()
    for name in prepare_lab(where):
        print(f"{where / name} keeps your changes; delete it to get the notebook of the repository")
    command, environment = lab_command(where, options or []), lab_environment(where)
    return subprocess.run(command, env=environment, check=False).returncode
