"""Manifest and summary are read as typed records and written as they were."""

import json
from pathlib import Path

import pytest

from gptoss_bench import paths, runs
from gptoss_bench.runs.manifest import EndpointRecord, Manifest, read_manifest
from gptoss_bench.runs.record import Record, number_at, value_at, write_json_schema, write_record
from gptoss_bench.runs.request_table import derive_tables
from gptoss_bench.runs.summary import (
    Distribution,
    LoadSummary,
    MeasuredNumber,
    OtherSummary,
    PercentileIntervals,
    Percentiles,
    Resolved,
    RunIntervals,
    SamplingInterval,
    SweepRow,
    read_summary,
)
from gptoss_client import Endpoint, UsageError

FILE = Path("runs/a/manifest.json")
RUNS = sorted((paths.RESULTS / "runs").glob("*/summary.json"))
MANIFEST = {"run_id": "a", "scenario": "load", "status": "complete"}


@pytest.mark.parametrize("file", RUNS, ids=lambda file: file.parent.name)
def test_a_committed_summary_is_written_as_it_was_read(file: Path) -> None:
    content = json.loads(file.read_bytes())
    manifest = read_manifest(json.loads((file.parent / "manifest.json").read_bytes()), file)
    assert read_summary(manifest.scenario, content, file).document() == content


def test_a_wrong_type_is_one_line_with_file_field_and_value() -> None:
    with pytest.raises(
        UsageError, match=r"runs/a/manifest.json: machine.cores is 'two'; it has to be a whole number; restore"
    ) as error:
        read_manifest(MANIFEST | {"machine": {"cores": "two"}}, FILE)
    assert "\n" not in str(error.value)
    with pytest.raises(UsageError, match=r"itl_s.p50_interval\[1\] is 'x'; it has to be a number"):
        read_summary("load", {"percentile_rule": "inclusive", "itl_s": {"p50_interval": [1.0, "x"]}}, FILE)


@pytest.mark.parametrize("name", MANIFEST)
def test_a_manifest_without_a_name_is_refused(name: str) -> None:
    with pytest.raises(UsageError, match=f"has no {name}"):
        read_manifest({key: value for key, value in MANIFEST.items() if key != name}, FILE)


def test_unknown_keys_are_left_out() -> None:
    assert read_manifest(MANIFEST | {"later": 1}, FILE).document() == MANIFEST


def test_the_summary_of_an_unknown_scenario_keeps_every_key() -> None:
    content = {"parts": [{"part": "a10", "ooms": 1}]}
    found = read_summary("bf16-parts", content, FILE)
    assert isinstance(found, OtherSummary)
    assert found.document() == content


def test_a_run_that_did_not_end_has_an_empty_summary() -> None:
    assert read_summary("calibration", {}, FILE) == OtherSummary()


def test_nan_is_written_as_null_and_unset_fields_are_not_written(tmp_path: Path) -> None:
    write_record(tmp_path / "summary.json", LoadSummary(wall_s=float("nan"), itl_s=Distribution(n=0, p50=None)))
    assert json.loads((tmp_path / "summary.json").read_text()) == {"wall_s": None, "itl_s": {"p50": None, "n": 0}}


def test_an_endpoint_becomes_a_record_without_its_label() -> None:
    endpoint = Endpoint("http://a", "m", "openai", "vllm", label="CPU", request_fields=("ignore_eos",), facts={"n": 1})
    record = EndpointRecord.of(endpoint)
    assert (record.engine, record.request_fields, record.facts) == ("vllm", ["ignore_eos"], {"n": 1})
    assert "label" not in record.document()


def test_values_are_found_by_dotted_paths() -> None:
    manifest = Manifest(parameters={"requests": 48, "options": {"num_ctx": 2048}, "embedded": True})
    assert number_at(manifest, "parameters.options.num_ctx") == 2048.0
    assert number_at(manifest, "parameters.embedded") is None
    assert number_at(manifest, "machine.cores") is None
    assert value_at(LoadSummary(sweep=[SweepRow(concurrency=2)]), "done_s.resolved.p99") is False
    assert value_at(OtherSummary.model_validate({"parts": {"n": 3}}), "parts.n") == 3
    assert value_at(manifest, "nothing.here") is None


def test_a_number_comes_with_what_limits_it() -> None:
    low, high = Percentiles(p50=0.1, p99=0.3), Percentiles(p50=0.2, p99=0.4)
    p50, p99 = SamplingInterval(low=0.15, high=0.25), SamplingInterval(why="p99 takes 3 runs")
    intervals = PercentileIntervals(p50=p50, p99=p99)
    resolved, exclusive = Resolved(p50=True), Percentiles(p50=0.25, p99=0.5)
    ttft = Distribution(n=40, p50=0.2, p99=0.4, resolved=resolved, exclusive=exclusive)
    ttft = ttft.model_copy(update={"low": low, "high": high, "intervals": intervals})
    rates = RunIntervals(wall_s=(3.0, 4.0), why={"request_s": "fewer than 40 waves"})
    summary = LoadSummary(ttft_s=ttft, wall_s=3.5, request_s=2.0, intervals=rates)
    assert summary.measured("ttft_s.p50") == MeasuredNumber(
        0.2, True, (0.1, 0.2), SamplingInterval(low=0.15, high=0.25)
    )
    assert summary.measured("ttft_s.exclusive.p99") == MeasuredNumber(0.5, False, (0.3, 0.4), intervals.p99)
    assert summary.measured("ttft_s.p90").client is None
    assert summary.measured("wall_s") == MeasuredNumber(3.5, True, (3.5, 3.5), SamplingInterval(low=3.0, high=4.0))
    assert summary.measured("request_s").sampling == SamplingInterval(why="fewer than 40 waves")
    assert summary.measured("e2e_s.p50").value is None


@pytest.mark.parametrize(("name", "model"), [("manifest", "Manifest"), ("summary", "LoadSummary")])
def test_the_json_schemas_in_the_docs_are_those_of_the_models(tmp_path: Path, name: str, model: str) -> None:
    record: type[Record] = getattr(runs, model)
    write_json_schema(tmp_path / "schema.json", record)
    kept = paths.ROOT / "docs" / "schemas" / f"{name}.json"
    command = f"from gptoss_bench.runs import *; write_json_schema(Path('docs/schemas/{name}.json'), {model})"
    assert kept.read_text() == (tmp_path / "schema.json").read_text(), f"write it again: {command}"


def test_the_docs_list_the_columns_of_the_tables() -> None:
    text = (paths.ROOT / "docs" / "formats.md").read_text()
    for name, frame in zip(("requests", "events"), derive_tables([]), strict=True):
        section = text.partition(f"## Columns of `{name}.parquet`")[2].partition("\n## ")[0]
        rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
        assert [row[:2] for row in rows] == [[f"| `{column}`", str(dtype)] for column, dtype in frame.dtypes.items()]
        assert {len(row) for row in rows} == {4}, "column, type, meaning, and when it is null"
