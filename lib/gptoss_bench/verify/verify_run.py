"""Verify one run folder: what is in it, what it states, and what its raw bytes say."""

from collections.abc import Callable, Iterator
from pathlib import Path

from gptoss_bench.runs import LoadSummary, Run
from gptoss_bench.verify import contents, raw_bytes, statements
from gptoss_bench.verify.check import Check, Verification
from gptoss_client import UsageError, one_line


def verify_run(folder: Path) -> Verification:
    """Return the checks of a run folder of unknown origin.

    Nothing is read from a folder that has links or unknown files in it, and nothing is derived from documents that
    cannot be read. Raises UsageError if there is no such folder.
    """
    if not folder.exists() and not folder.is_symlink():
        raise UsageError(f"there is no run {one_line(str(folder))}")
    found = Verification(one_line(folder.name, 80))
    for check in _checks(folder):
        found.checks.append(check)
    return found


def _checks(folder: Path) -> Iterator[Check]:
    files = contents.check_files(folder)
    yield files
    if files.refused:
        return
    try:
        run = Run.load(folder)
    except UsageError as error:
        yield Check("documents", "manifest, summary and findings", (str(error),))
        return
    yield _guarded("RO-Crate", lambda: contents.check_crate(run))
    yield _guarded("names", lambda: contents.check_names(folder))
    yield _guarded("notebook", lambda: contents.check_notebook(folder))
    yield _guarded("manifest", lambda: statements.check_manifest(run, folder))
    if not isinstance(run.summary, LoadSummary):
        yield Check("raw bytes", "summary.json", (f"the summary of scenario {run.scenario} has no measured load",))
        return
    yield _guarded("labels", lambda: statements.check_labels(run))
    for name, check in (
        ("raw bytes", raw_bytes.check_rebuilt),
        ("requests", raw_bytes.check_requests),
        ("clocks", raw_bytes.check_clocks),
        ("tokens", raw_bytes.check_tokens),
        ("samples", raw_bytes.check_samples),
        ("linter", raw_bytes.check_findings),
    ):
        yield _guarded(name, lambda check=check: check(run))  # type: ignore[misc]


def _guarded(name: str, check: Callable[[], Check]) -> Check:
    """Return a check, refused where what it reads cannot be read: damaged tables raise many kinds of exceptions."""
    try:
        return check()
    except UsageError as error:
        return Check(name, "", (str(error),))
    except Exception as error:  # a library below met data that no run of the kit has
        reason = f"it cannot be checked: {type(error).__name__}: {one_line(str(error), 120)}"
        return Check(name, "", (reason,))
