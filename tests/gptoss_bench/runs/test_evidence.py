"""Which runs are evidence, and why the others are not."""

import json
from pathlib import Path
from typing import Any

import pytest

from gptoss_bench.runs.evidence import NamedEvidence, choose_evidence, named_runs, newest_verdicts
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.manifest import EndpointRecord, Purpose
from gptoss_bench.runs.record import write_record
from gptoss_client.errors import UsageError

LOCAL = {"embedded": True, "requests": 48, "concurrency": 8}


def made(results: Path, run_id: str, *, scenario: str = "vllm-h100", status: str = "complete", **values: Any) -> Run:
    """A finished run whose manifest has other values than those of a run of profile local on a known server."""
    run = RunFolder.create(results, scenario, parameters={}, run_id=run_id).finish(
        None, status, values.pop("why", None)
    )
    run.manifest.purpose = Purpose(profile="local", parameters=LOCAL)
    run.manifest.endpoint = EndpointRecord(engine="llama.cpp", model="gpt-oss-tiny")
    run.manifest.gpus = []
    for name, value in values.items():
        setattr(run.manifest, name, value)
    write_record(run.path / "manifest.json", run.manifest)
    return run


def refusal(results: Path, run_id: str) -> str:
    found = choose_evidence(results)
    assert run_id not in [chosen.run.run_id for chosen in found.chosen]
    return next(refused.reason for refused in found.refused if refused.run_id == run_id)


def test_a_run_with_the_parameters_of_its_profile_is_evidence(tmp_path):
    made(
        tmp_path, "1", purpose=Purpose(profile="local", parameters=LOCAL | {"results_dir": "elsewhere", "run_id": "1"})
    )
    [chosen] = choose_evidence(tmp_path).chosen
    assert (chosen.run.run_id, chosen.scenario) == ("1", "vllm-h100")
    assert chosen.because == "made with the parameters of profile local"


@pytest.mark.parametrize(
    ("values", "reason"),
    [
        ({"purpose": None}, "ad hoc: no profile gave its parameters; name it to use it"),
        (
            {"purpose": Purpose(profile="local", parameters=LOCAL | {"requests": 8})},
            "ad hoc: not the parameters of profile local: requests 8 instead of 48",
        ),
        (
            {"purpose": Purpose(profile="local", parameters=LOCAL | {"prompt": "Hi"})},
            "ad hoc: not the parameters of profile local: prompt 'Hi'",
        ),
        (
            {"purpose": Purpose(profile="mine.yaml", parameters={})},
            "ad hoc: not the parameters of profile mine.yaml: names no file of notebooks/profiles",
        ),
        ({"status": "incomplete", "why": "stopped"}, "incomplete: stopped"),
        ({"endpoint": EndpointRecord(engine="openai-compatible", model="m")}, "unknown model; name it to use it"),
        ({"endpoint": EndpointRecord(engine="vllm")}, "unknown model; name it to use it"),
        ({"labels": ["UNKNOWN MODEL"]}, "unknown model; name it to use it"),
        ({"gpus": None}, "unknown hardware; name it to use it"),
        ({"labels": ["REMOTE SERVER"]}, "unknown hardware; name it to use it"),
    ],
)
def test_any_other_run_is_none_and_the_reason_is_named(tmp_path, values, reason):
    made(tmp_path, "1", **values)
    assert refusal(tmp_path, "1") == reason


def test_a_parameter_that_a_profile_leaves_open_may_be_given(tmp_path):
    profile = Purpose(profile="endpoint", parameters={"model": "m", "url": "http://127.0.0.1:1", "embedded": False})
    made(tmp_path, "1", purpose=profile)
    assert [chosen.run.run_id for chosen in choose_evidence(tmp_path).chosen] == ["1"]


def test_a_calibration_with_other_levels_is_none(tmp_path):
    made(tmp_path, "1", scenario="calibration", purpose=Purpose(profile="smoke", parameters={"levels": [[1, 40]]}))
    assert "not the parameters of profile smoke: levels [[1, 40]] instead of " in refusal(tmp_path, "1")


def test_a_named_run_is_evidence_whatever_it_is_and_may_count_as_another_scenario(tmp_path):
    made(tmp_path, "1", scenario="load", purpose=None, labels=["RANDOM WEIGHTS"])
    [chosen] = choose_evidence(tmp_path, [NamedEvidence("1", "the published load", "vllm-h100")]).chosen
    assert (chosen.scenario, chosen.because) == ("vllm-h100", "the published load")
    made(tmp_path, "2")
    assert [c.run.run_id for c in choose_evidence(tmp_path, [NamedEvidence("1", "named")], only_named=True).chosen] == [
        "1"
    ]


def test_a_labelled_run_replaces_no_run_without_a_label_and_of_labelled_ones_the_newest_counts(tmp_path):
    made(tmp_path, "1")
    made(tmp_path, "2", labels=["TINY MODEL"])
    made(tmp_path, "3", labels=["TINY MODEL"])
    made(tmp_path, "4")
    assert [chosen.run.run_id for chosen in choose_evidence(tmp_path).chosen] == ["1", "3", "4"]
    assert refusal(tmp_path, "2") == "there is a newer run of vllm-h100 with profile local"


@pytest.mark.parametrize(
    ("name", "content"),
    [("manifest.json", "{"), ("manifest.json", "[]"), ("manifest.json", '{"schema_version": 99}'), ("lint.json", "{")],
)
def test_a_broken_folder_is_named_and_breaks_nothing(tmp_path, name, content):
    made(tmp_path, "1")
    made(tmp_path, "2")
    (tmp_path / "runs" / "1" / name).write_text(content)
    assert [chosen.run.run_id for chosen in choose_evidence(tmp_path).chosen] == ["2"]
    assert refusal(tmp_path, "1").startswith("not readable: ")


def test_runs_of_verdicts_are_no_evidence_and_are_not_listed(tmp_path):
    made(tmp_path, "1", scenario="verdicts")
    assert choose_evidence(tmp_path) == choose_evidence(tmp_path / "nowhere")


def test_the_newest_whole_run_with_verdicts_on_the_claims_of_the_kit_is_found(tmp_path):
    made(tmp_path, "1", scenario="verdicts")
    made(tmp_path, "2", scenario="verdicts")
    made(tmp_path, "3", scenario="verdicts", status="incomplete")
    made(tmp_path, "5", scenario="verdicts", parameters={"claims_file": "another.yaml"})
    (tmp_path / "runs" / "4").mkdir()
    (tmp_path / "runs" / "4" / "manifest.json").write_text("{")
    found = newest_verdicts(tmp_path)
    assert found is not None and found.run_id == "2"
    assert newest_verdicts(tmp_path / "nowhere") is None
    assert [run.run_id for run in named_runs(tmp_path, ["2", "1", "2"])] == ["2", "1"]
    with pytest.raises(UsageError):
        named_runs(tmp_path, ["nowhere"])


def test_the_purpose_is_in_the_manifest(tmp_path):
    run = made(tmp_path, "1")
    content = json.loads((run.path / "manifest.json").read_text())
    assert content["purpose"] == {"profile": "local", "parameters": LOCAL}
    assert Run.load(run.path).manifest.purpose == Purpose(profile="local", parameters=LOCAL)
