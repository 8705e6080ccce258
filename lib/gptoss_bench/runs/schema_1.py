"""Read runs of schema 1 under the names of schema 2: files, columns, keys and values."""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd

from gptoss_bench.runs.labels import split_labels

FILES = {"events": "chunks"}
COLUMNS = {"stamp_source": "timestamp_source", "stamp_ns": "timestamp_ns"}
KEYS = {"ruler": "calibration", "ruler_events_s": "calibration_events_s"}
VALUES = {"ruler": "calibration", "truth-server": "reference-server"}
LABELS = {"TRUTH SERVER": "REFERENCE SERVER"}


def table_file(folder: Path, name: str) -> Path:
    """Return the path of a table, by its old name if only that file exists."""
    file = folder / f"{name}.parquet"
    old = folder / f"{FILES.get(name, name)}.parquet"
    return old if old.exists() and not file.exists() else file


def table(frame: pd.DataFrame) -> pd.DataFrame:
    """Return a table with the column names of today."""
    return frame.rename(columns=COLUMNS) if set(COLUMNS) & set(frame.columns) else frame


def row(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return one row of the raw data with the column names of today."""
    return values if "stamp_source" not in values else {COLUMNS.get(key, key): value for key, value in values.items()}


def manifest(content: dict[str, Any]) -> dict[str, Any]:
    """Return a manifest with the keys, scenario, engine and labels of today."""
    found = {KEYS.get(key, key): value for key, value in content.items()}
    found["scenario"] = VALUES.get(found.get("scenario", ""), found.get("scenario"))
    found["labels"] = [LABELS.get(label, label) for label in split_labels(found.pop("label", None))]
    if endpoint := found.get("endpoint"):
        engine = endpoint.get("engine")
        found["endpoint"] = {**endpoint, "engine": VALUES.get(engine, engine)}
    return found


def summary(content: Any) -> Any:
    """Return a summary with the keys of today, at every depth."""
    if isinstance(content, dict):
        return {KEYS.get(key, key): summary(value) for key, value in content.items()}
    return [summary(value) for value in content] if isinstance(content, list) else content
