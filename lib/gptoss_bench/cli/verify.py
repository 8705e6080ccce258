"""`gptoss-bench verify RUN…`: check runs that somebody else made, before they are published."""

from collections.abc import Iterator
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from gptoss_bench.cli.options import Json
from gptoss_bench.cli.output import coloured, print_json
from gptoss_bench.cli.run_ids import complete_run, find_run

if TYPE_CHECKING:
    from gptoss_bench.verify import Verification

EXAMPLE = """example: gptoss-bench verify results/runs/20261124T090000Z-vllm-h100-0a1b2c

Everything is derived from the raw bytes again and compared. Exit code 3 if a run is refused."""


def verify(
    runs: Annotated[
        list[str], typer.Argument(metavar="RUN", help="ids or folders of runs", autocompletion=complete_run)
    ],
    *,
    as_json: Json = False,
) -> int:
    """Check that runs are whole and agree with their raw bytes, as a run of a stranger has to."""
    folders = [find_run(name) for name in runs]  # before pandas is imported

    from gptoss_bench.session import showing_progress
    from gptoss_bench.verify import CANNOT_FIND, verify_run

    found = []
    for folder in folders:
        with showing_progress(f"{folder.name}: deriving everything from the raw bytes again"):
            found.append(verify_run(folder))
    if as_json:
        print_json([{**asdict(one), "consistent": not one.refused} for one in found])
    else:
        print("\n\n".join("\n".join(_lines(one)) for one in found))
        print(f"\n{CANNOT_FIND}")
    return 3 if any(one.refused for one in found) else 0


def _lines(found: "Verification") -> Iterator[str]:
    yield found.run_id
    for check in found.checks:
        yield f"  {coloured('refused', 'error') if check.refused else coloured('ok')}: {check.name}" + (
            f" ({check.examined})" if check.examined else ""
        )
        yield from (f"    {reason}" for reason in check.refused)
        yield from (f"    not checked: {reason}" for reason in check.unchecked)
    count = len(found.refused)
    yield f"refused, {count} reason{'s' * (count != 1)}" if count else "consistent with itself"
