"""Find what a load tool reported: a run folder of this kit, a result file of a known tool, or a printed block."""

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from gptoss_bench.calibration.accuracy import KIT_CLIENT, ClientTables, measured_tables
from gptoss_bench.importers import ImportedResult, parse_results
from gptoss_bench.runs import LoadSummary, Run
from gptoss_client import UsageError

MAX_REPORT_BYTES = 256 * 2**20
MAX_DEPTH = 5  # folders below the working folder in which new files are looked for
_SKIPPED = {"node_modules", "site-packages", "__pycache__"}
_ENDINGS = {".json", ".jsonl", ".txt", ".log"}


@dataclass(frozen=True, slots=True)
class ToolReport:
    """What a tool reported of one load.

    `tables` is set for a run of this kit, whose responses name their streams. Of other tools `result` has the
    summary, and a row per request if the tool reports them.
    """

    tool: str
    version: str | None
    where: str
    summary: LoadSummary
    requests: pd.DataFrame
    tables: ClientTables | None = None
    result: ImportedResult | None = None

    @property
    def by_request(self) -> bool:
        """Return whether the tool reports the times of each request."""
        return bool(self.requests["ttft_s"].notna().any() or self.requests["e2e_s"].notna().any())


def find_report(given: Path | None, folders: Sequence[Path], since_s: float, printed: str) -> ToolReport:
    """Return the report of a load, the one with the most requests if there are several.

    Args:
        given: File or folder that the user named, None to look for one.
        folders: Folders in which files that were written at or after `since_s` are read.
        since_s: Time of the start of the tool (s since 1970).
        printed: Everything that the tool printed.

    Raises:
        UsageError: There is no report that can be read.
    """
    if given is not None:
        if not given.exists():
            raise UsageError(f"the tool wrote no {given}: name the file that it writes with --result")
        found = list(_reports(given, [given] if given.is_file() else _new_files(given, 0.0)))
        if not found:
            parse_results(given.read_text(errors="replace") if given.is_file() else "", str(given))  # says what is read
            raise UsageError(f"{given} has no result that can be read")
    else:
        found = [one for folder in folders for one in _reports(folder, _new_files(folder, since_s))]
        found = found or _printed(printed)
    if not found:
        raise UsageError(
            "the tool wrote no result that can be read: name its file with --result, or let it write to {out}"
        )
    return max(found, key=lambda one: (one.tables is not None, len(one.requests), one.summary.completed))


def _reports(folder: Path, files: Sequence[Path]) -> Iterator[ToolReport]:
    """Yield the runs of this kit among the files, else what the importers read."""
    runs = {file.parent for file in files if file.name == "manifest.json"}
    for path in runs:
        try:
            run = Run.load(path)
        except UsageError:
            continue
        if isinstance(run.summary, LoadSummary):
            version = run.manifest.code.version
            yield ToolReport(KIT_CLIENT, version, str(path), run.summary, run.requests, measured_tables(run))
    for file in files:
        if file.parent in runs or file.stat().st_size > MAX_REPORT_BYTES:
            continue
        try:
            results = parse_results(file.read_text(encoding="utf-8", errors="replace"), file.name)
        except UsageError:
            continue
        for result in results:
            yield _imported(result, str(file))


def _imported(result: ImportedResult, where: str) -> ToolReport:
    return ToolReport(result.tool, result.version, where, result.summary, result.requests, result=result)


def _new_files(folder: Path, since_s: float) -> list[Path]:
    """Return the files below `folder` that may be reports and were written since then."""
    found, level = [], [folder]
    for _ in range(MAX_DEPTH + 1):
        below: list[Path] = []
        for place in level:
            try:
                entries = sorted(place.iterdir())
            except OSError:
                continue
            for entry in entries:
                if entry.is_symlink() or entry.name.startswith(".") or entry.name in _SKIPPED:
                    continue
                if entry.is_dir():
                    below.append(entry)
                elif entry.suffix in _ENDINGS and entry.stat().st_mtime >= since_s:
                    found.append(entry)
        level = below
    return found


def _printed(text: str) -> list[ToolReport]:
    """Return the results in what a tool printed, such as the block of `vllm bench serve`, or a line of JSON."""
    for candidate in (text, *_json_lines(text)):
        try:
            return [_imported(one, "what it printed") for one in parse_results(candidate, "what the tool printed")]
        except UsageError:
            continue
    return []


def _json_lines(text: str) -> Iterator[str]:
    for line in text.splitlines():
        if line.startswith("{"):
            try:
                json.loads(line)
            except ValueError:
                continue
            yield line
