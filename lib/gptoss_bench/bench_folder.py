"""A bench on disk: results/bench/<utc>-bench-<id>/ with `rows.csv`, one row a run of a client, and its manifest."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench import bench_table, machine
from gptoss_bench.atomic import replacing, write_json
from gptoss_bench.errors import UsageError
from gptoss_bench.peer_bench import Load
from gptoss_bench.store import new_run_id

SCHEMA_VERSION = 1


@dataclass(frozen=True, slots=True)
class Bench:
    """A bench as it reads from disk; `rows` has the columns of peer_bench.Row."""

    path: Path
    manifest: dict[str, Any]
    rows: pd.DataFrame

    def markdown(self) -> str:
        """The tables and their notes."""
        return bench_table.markdown(self.rows, self.manifest)


def create(results: Path) -> Path:
    """Make an empty folder for a bench. Raises UsageError where that is not allowed."""
    path = results / "bench" / new_run_id("bench")
    try:
        path.mkdir(parents=True)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}; name another folder") from error
    return path


def write(path: Path, rows: pd.DataFrame, loads: Sequence[Load], facts: Mapping[str, Any]) -> Bench:
    """Keep the rows, and then the manifest: `facts`, the loads, the machine and the code. Returns what was kept."""
    versions = rows.drop_duplicates("client").set_index("client")["version"].to_dict()
    manifest = {
        "schema_version": SCHEMA_VERSION,
        "bench_id": path.name,
        **facts,
        "versions": versions,
        "loads": [asdict(load) for load in loads],
        "code": machine.code(),
        "machine": machine.machine(),
        "packages": machine.packages(),
    }
    try:
        with replacing(path / "rows.csv") as part:
            rows.to_csv(part, index=False, float_format="%.6g")
        write_json(path / "manifest.json", manifest)
    except OSError as error:
        raise UsageError(f"cannot write to {path}: {error.strerror or error}; free space") from error
    return load(path)


def load(path: Path) -> Bench:
    """Read a bench. Raises UsageError where the folder holds none, or one of a newer kit."""
    try:
        manifest = json.loads((path / "manifest.json").read_bytes())
        rows = pd.read_csv(path / "rows.csv")
        newer = manifest["schema_version"] > SCHEMA_VERSION
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(f"{path} is not a readable bench: {error}") from error
    if newer:
        raise UsageError(f"{path} was written by a newer kit (schema {manifest['schema_version']}): update this one")
    return Bench(path, manifest, rows)


def is_bench(path: Path) -> bool:
    """Whether the folder holds a bench rather than a run."""
    return (path / "rows.csv").exists()
