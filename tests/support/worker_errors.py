"""Measure the timing errors of one load that 1, 2 and 4 workers send together, against the reference server.

`python tests/support/worker_errors.py` writes the levels to results/worker-errors.json and their table into
docs/scale.md; with `--table` it only writes the table again. Nothing else may run on the machine.
"""

import asyncio
import os
import sys
import tempfile
from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.calibration import (
    TRUSTED_ERROR_SHARE,
    CalibrationLoad,
    calibration_loads,
    read_send_log,
    require_matched_events,
    run_sample,
    serve_reference,
    summarise_level,
)
from gptoss_bench.engines import ServerChoice
from gptoss_bench.files import read_json
from gptoss_bench.fleet import LocalFleet
from gptoss_bench.runs import CalibrationLevel, Record, Run, machine_facts, read_record, write_record
from gptoss_bench.runs.manifest import CodeVersion, code_version
from gptoss_bench.session import load_fleet, serving

WORKERS = (1, 2, 4)
LEVELS = ((256, 40.0), (512, 40.0))  # streams, tokens/s of each
REPEATS = 2
FILE, PAGE = paths.RESULTS / "worker-errors.json", paths.ROOT / "docs" / "scale.md"
BEGIN, END = "<!-- worker-errors -->\n", "<!-- end of worker-errors -->"


class WorkerErrors(Record):
    """Levels of calibration whose `client` is a number of workers, and when and where they were measured."""

    date_utc: str
    code: CodeVersion
    cpu: str | None
    cores: int | None
    levels: list[CalibrationLevel]


async def measure(
    levels: Sequence[Sequence[float]], workers: Sequence[int] = WORKERS, repeats: int = REPEATS
) -> list[CalibrationLevel]:
    """Return a level for each number of workers under each load; the repeats go through all numbers in turn."""
    found = list[CalibrationLevel]()
    for load in calibration_loads(levels, None, repeats=repeats):
        with tempfile.TemporaryDirectory() as scratch:
            where, runs = Path(scratch), {count: list[Run]() for count in workers}
            async with serve_reference(load.pace, where) as endpoint:
                for repeat in range(repeats):
                    for count in workers if repeat % 2 == 0 else reversed(workers):
                        print(f"{load} tokens/s, {count} workers, repeat {repeat + 1} of {repeats}", file=sys.stderr)
                        runs[count].append(await _run(load, endpoint.url, count, where))
            log = read_send_log(where / "send_log.parquet").events
            for count, several in runs.items():
                shares = [run.load_summary.client.cpu_share or 0.0 for run in several]  # of the busiest worker
                samples = [
                    run_sample(run, log, load.streams, share) for run, share in zip(several, shares, strict=True)
                ]
                found.append(summarise_level(str(count), load, samples))
    require_matched_events(found)
    return found


async def _run(load: CalibrationLoad, url: str, count: int, where: Path) -> Run:
    async with serving("load", ServerChoice(url=url), plan=load.plan, results_dir=str(where)) as session:
        await load_fleet(session, load.plan, LocalFleet(count))
    return session.finish()


def table(levels: Sequence[CalibrationLevel]) -> str:
    """Return a Markdown table, a row per load and number of workers."""
    lines = [
        "| streams × tokens/s | workers | events/s | TTFT error p50, p99, ms | ITL error p50, p99, ms"
        " | CPU of the busiest worker |",
        "|---|---|---|---|---|---|",
    ]
    for one in levels:
        errors = (f"{_ms(error.p50)}, {_ms(error.p99)}" for error in (one.ttft_error, one.itl_error))
        cells = (f"{one.streams} × {one.tokens_s:g}", one.client, f"{one.events_s:,.0f}", *errors)
        lines.append(f"| {' | '.join(cells)} | {one.cpu_share:.0%} of a core |")
    return "\n".join(lines)


def sentence(levels: Sequence[CalibrationLevel]) -> str:
    """Return for each load whether several workers were less accurate than one, by more than a trusted level may be."""
    found = []
    for load in dict.fromkeys((one.streams, one.tokens_s) for one in levels):
        alone, *others = [one for one in levels if (one.streams, one.tokens_s) == load]
        allowed_ms = TRUSTED_ERROR_SHARE * (alone.itl_p50_ms or 0.0)
        worse = [
            f"{name} p99 of {other.client} workers by {theirs.p99 - own.p99:.3g} ms"
            for other in others
            for name, own, theirs in (
                ("TTFT", alone.ttft_error, other.ttft_error),
                ("ITL", alone.itl_error, other.itl_error),
            )
            if own.p99 is not None and theirs.p99 is not None and theirs.p99 - own.p99 > allowed_ms
        ]
        said = "worse than one worker are " + ", ".join(worse) if worse else "none is worse than that of one worker"
        found.append(f"{load[0]} × {load[1]:g} tokens/s: {said} by more than {allowed_ms:.3g} ms")
    return "p99 of the errors at " + "; at ".join(found) + f" ({TRUSTED_ERROR_SHARE:.0%} of the median ITL)."


def write_table(errors: WorkerErrors) -> None:
    """Put the table and its sentence into docs/scale.md."""
    before, begin, rest = PAGE.read_text(encoding="utf-8").partition(BEGIN)
    _, end, after = rest.partition(END)
    assert begin and end, f"{PAGE} has no place for the table"
    PAGE.write_text(before + begin + text(errors) + end + after, encoding="utf-8")


def text(errors: WorkerErrors) -> str:
    """Return the table with where it was measured, and what it says."""
    where = f"{errors.date_utc}, {errors.cores} cores of {errors.cpu}, {errors.levels[0].repeats} repeats"
    return f"\n{where}:\n\n{table(errors.levels)}\n\n{sentence(errors.levels)}\n\n"


def _ms(value: float | None) -> str:
    return "not resolved" if value is None else f"{value:.3g}"


def main() -> None:
    """Measure, unless `--table` is given, and write the table."""
    if "--table" not in sys.argv:
        machine, levels = machine_facts(), asyncio.run(measure(LEVELS))
        errors = WorkerErrors(
            date_utc=f"{datetime.now(UTC):%Y-%m-%d}",
            code=code_version(),
            cpu=machine.cpu,
            cores=os.cpu_count(),
            levels=levels,
        )
        write_record(FILE, errors)
    errors = read_record(WorkerErrors, read_json(FILE), FILE)
    print(text(errors))
    write_table(errors)


if __name__ == "__main__":
    main()
