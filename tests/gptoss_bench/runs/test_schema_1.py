"""Runs of schema 1 are read under the names of today."""

import json
import shutil
from pathlib import Path

import pytest

from folders import TESTS
from gptoss_bench.runs import schema_1
from gptoss_bench.runs.folder import Run

RUNS = TESTS / "golden" / "runs"
WITH_TABLES = RUNS / "20261124T172127Z-ollama-a10-709a43"


def test_a_calibration_run_is_of_the_scenario_of_that_name() -> None:
    run = Run.load(RUNS / "20261124T172022Z-ruler-3789d2")
    assert (run.scenario, run.manifest.schema_version) == ("calibration", 1)
    assert run.manifest.endpoint.engine == "reference-server"
    assert schema_1.manifest({"scenario": "load", "label": "TRUTH SERVER, CPU"})["labels"] == [
        "REFERENCE SERVER",
        "CPU",
    ]


def test_an_early_run_of_schema_2_keeps_its_label(tmp_path: Path) -> None:
    manifest = {
        "schema_version": 2,
        "run_id": "a",
        "scenario": "load",
        "status": "complete",
        "label": "TINY MODEL, CPU",
    }
    (tmp_path / "manifest.json").write_text(json.dumps(manifest))
    assert Run.load(tmp_path).manifest.labels == ["TINY MODEL", "CPU"]


def test_manifest_and_summary_have_the_keys_of_today() -> None:
    run = Run.load(WITH_TABLES)
    assert run.manifest.calibration.levels
    assert run.summary.client.error_bar.calibration == run.manifest.calibration.run_id


@pytest.mark.parametrize("kept", [True, False], ids=["tables on disk", "raw bytes alone"])
def test_tables_have_the_columns_of_today(tmp_path: Path, kept: bool) -> None:
    folder = shutil.copytree(WITH_TABLES, tmp_path / "run")
    if not kept:
        (folder / "requests.parquet").unlink()
        (folder / "chunks.parquet").unlink()
    run = Run.load(folder)
    assert set(run.requests["timestamp_source"]) == {"kernel"}
    assert run.events["request_id"].nunique() == len(run.requests)
    assert list(run.event_columns(["itl_s"]).columns) == ["itl_s"]
    assert "timestamp_ns" in run.table("host").columns
    assert next(run.traces()).timestamp_source == "kernel"
