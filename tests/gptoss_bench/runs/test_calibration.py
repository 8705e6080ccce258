"""Calibrations of the first format stay readable; a machine is known by a hash."""

from pathlib import Path

from gptoss_bench import paths
from gptoss_bench.runs.calibration import CalibratedLoad, CalibrationSummary
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.manifest import machine_id

FIRST = "20261127T014955Z-calibration-065f47"


def test_a_calibration_without_repeats_and_conditions_is_read() -> None:
    run = Run.load(paths.RUNS / FIRST)
    assert isinstance(run.summary, CalibrationSummary)
    assert run.manifest.machine is not None and run.manifest.machine.id is None
    for level in run.summary.levels:
        assert (level.kind, level.condition, level.repeats, level.ttft_error.n) == ("plain", "idle", 1, None)
        kept = CalibratedLoad.of(level)
        assert (kept.ttft_error_ms.p99, kept.events_s) == (level.ttft_error.p99, level.events_s)


def test_the_id_of_a_machine_stays_and_does_not_hold_the_systems_own() -> None:
    found = machine_id()
    assert found == machine_id()
    file = Path("/etc/machine-id")
    if file.exists() and (raw := file.read_text().strip()):
        assert found is not None and len(found) == 16 and found not in raw and raw not in found
