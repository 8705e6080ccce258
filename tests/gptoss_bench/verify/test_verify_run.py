"""A run that was forged in one place is refused with the reason; committed loads are consistent with themselves."""

import asyncio
import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import published
from fleets import fleet_run, slowly
from gptoss_bench.cli.main import main
from gptoss_bench.fleet.placement import LocalFleet
from gptoss_bench.verify import CANNOT_FIND, verify_run
from gptoss_client.plan import LoadPlan

LOADS = [folder for folder in published.folders() if (folder / "raw.parquet").exists()]
SMALLEST = min(LOADS, key=lambda folder: (folder / "raw.parquet").stat().st_size)
WITH_GPU = min(
    (folder for folder in LOADS if json.loads((folder / "manifest.json").read_text())["gpus"]),
    key=lambda folder: (folder / "raw.parquet").stat().st_size,
)


@pytest.fixture
def run(tmp_path: Path) -> Path:
    return Path(shutil.copytree(SMALLEST, tmp_path / SMALLEST.name))


def changed(file: Path, change: Callable[[Any], object]) -> None:
    content = json.loads(file.read_text())
    change(content)
    file.write_text(json.dumps(content))


def set_at(path: str, value: object) -> Callable[[Any], None]:
    def change(content: Any) -> None:
        *parents, last = path.split(".")
        for name in parents:
            content = content[name]
        content[last] = value

    return change


def told(run: Path) -> str:
    """Verify a run that must be refused and return the reasons."""
    found = verify_run(run)
    assert found.refused
    return "\n".join(found.refused)


@pytest.mark.parametrize("folder", sorted({SMALLEST, LOADS[1], WITH_GPU}), ids=lambda folder: folder.name)
def test_committed_loads_are_consistent_with_themselves(folder):
    assert verify_run(folder).refused == []


@pytest.mark.parametrize(
    ("file", "path", "value", "words"),
    [
        ("summary.json", "ttft_s.p50", 0.001, "ttft_s.p50 is 0.001, not"),
        ("summary.json", "output_tok_s", 99999.0, "output_tok_s is 99999.0, not"),
        ("summary.json", "telemetry.host.by_phase.during inference.client_cpu", 0.001, "client_cpu is 0.001, not"),
        ("lint.json", "0.evidence", "all is well", "0.evidence is"),
        ("manifest.json", "run_id", "20260101T000000Z-ollama-a10-aaaaaa", "its manifest is of run"),
        ("manifest.json", "start_utc", "2026-01-01T00:00:00+00:00", "its id says"),
        ("manifest.json", "end_utc", "2020-01-01T00:00:00+00:00", "its end is before its start"),
        ("manifest.json", "clock.start_ns", 10**18, "this manifest is of another run"),
        ("manifest.json", "labels", [], "the label TINY MODEL is missing"),
        ("manifest.json", "code.commit", None, "does not say the commit of the kit"),
        ("manifest.json", "code.dirty", True, "the code of the kit was changed"),
        ("manifest.json", "endpoint.version", None, "does not say the version of the engine"),
        ("manifest.json", "machine.cpu", "<b>EPYC</b>", "machine.cpu has the character '<'"),
        ("manifest.json", "endpoint.model", "gpt\u202eoss", "endpoint.model has the character"),
        ("manifest.json", "status", "incomplete", "the run is incomplete"),
        ("manifest.json", "parameters.requests", 1, "its manifest plans 1 requests, its raw bytes have"),
        ("manifest.json", "parameters.max_tokens", 1, "and 1 were asked for"),
    ],
)
def test_a_changed_value_is_refused(run, file, path, value, words):
    def change(content: Any) -> None:
        *parents, last = (int(name) if name.isdigit() else name for name in path.split("."))
        for name in parents:
            content = content[name]
        content[last] = value

    changed(run / file, change)
    assert words in told(run)


def test_a_manifest_of_another_run_is_refused(run):
    other = max(LOADS, key=lambda folder: folder.name)
    content = json.loads((other / "manifest.json").read_text())
    (run / "manifest.json").write_text(
        json.dumps(content | {"run_id": run.name, "scenario": run.name.split("-", 1)[1].rpartition("-")[0]})
    )
    words = told(run)
    assert "its id says" in words or "this manifest is of another run" in words
    assert "its raw bytes have" in words


@pytest.mark.parametrize("table", ["requests", "events"])
def test_an_edited_table_is_refused(run, table):
    file = run / f"{table}.parquet"
    frame = pd.read_parquet(file)
    name = "ttft_s" if table == "requests" else "itl_s"
    frame[name] = frame[name] / 2
    frame.to_parquet(file, index=False, compression="zstd")
    assert f"{table}.parquet: differs in {name}" in told(run)


def test_edited_samples_of_a_gpu_and_another_name_of_it_are_refused(tmp_path):
    run = Path(shutil.copytree(WITH_GPU, tmp_path / WITH_GPU.name))
    frame = pd.read_parquet(run / "gpu.parquet")
    frame.loc[frame.phase == "during inference", "power_w"] = 10.0
    frame.to_parquet(run / "gpu.parquet", index=False, compression="zstd")
    changed(run / "manifest.json", lambda content: content["gpus"][0].update(name="NVIDIA A10"))
    words = told(run)
    assert "gpu.by_phase.during inference.power_w" in words
    assert "the samples are of NVIDIA H100 80GB HBM3, the manifest names NVIDIA A10" in words


def raw_rows(run: Path) -> tuple[pa.Schema, list[dict[str, Any]]]:
    table = pq.read_table(run / "raw.parquet")
    return table.schema, table.to_pylist()


def write_raw(run: Path, schema: pa.Schema, rows: list[dict[str, Any]]) -> None:
    pq.write_table(pa.Table.from_pylist(rows, schema), run / "raw.parquet", compression="zstd")


def test_raw_bytes_that_lack_requests_have_one_twice_or_impossible_times_are_refused(run):
    schema, rows = raw_rows(run)
    write_raw(run, schema, rows[:-1])
    assert "its raw bytes have" in told(run)
    write_raw(run, schema, [*rows, rows[-1]])
    assert f"request {rows[-1]['request_id']} is there twice" in told(run)
    early = {**rows[-1], "arrival_ns": [when - 10**12 for when in rows[-1]["arrival_ns"]]}
    write_raw(run, schema, [*rows[:-1], early])
    assert "arrived before it was sent" in told(run)
    late = {name: rows[-1][name] + 10**12 for name in ("scheduled_ns", "sent_ns", "done_ns")}
    write_raw(run, schema, [*rows[:-1], {**rows[-1], **late}])
    assert "its manifest states a run of" in told(run)


def test_raw_bytes_that_are_cut_are_refused(run):
    content = (run / "raw.parquet").read_bytes()
    (run / "raw.parquet").write_bytes(content[: len(content) // 2])
    assert "raw.parquet" in told(run)


def test_links_folders_unknown_files_and_missing_ones_are_refused_before_anything_is_read(run, tmp_path):
    secret = tmp_path / "secret.json"
    secret.write_text("{}")
    (run / "lint.json").unlink()
    (run / "lint.json").symlink_to(secret)
    (run / "more").mkdir()
    (run / "run.sh").write_text("echo")
    (run / "manifest.json").unlink()
    os.link(secret, run / "host.json")
    found = verify_run(run)
    assert [check.name for check in found.checks] == ["files"]
    words = "\n".join(found.refused)
    for expected in (
        "lint.json is no regular file",
        "more is no regular file",
        "run.sh is no file of a run",
        "manifest.json is missing",
        "host.json is no file of a run",
    ):
        assert expected in words
    link = tmp_path / "link"
    link.symlink_to(SMALLEST)
    assert "is no folder, or a link" in told(link)


@pytest.mark.parametrize(
    ("output", "words"),
    [
        ({"text/html": "<script>alert(1)</script>"}, "its text/html has <script"),
        ({"text/html": ["<img src=x ", "onerror='alert(1)'>"]}, "its text/html has onerror="),
        ({"text/html": '<img src="https://example.org/p.png">'}, "its text/html has src="),
        ({"image/svg+xml": "<svg><foreignObject/></svg>"}, "its image/svg+xml has <foreignObject"),
        ({"application/javascript": "alert(1)"}, "an output of type application/javascript is not shown"),
    ],
)
def test_a_notebook_with_something_that_acts_is_refused(run, output, words):
    changed(
        run / "notebook.ipynb",
        lambda content: content["cells"].append(
            {"cell_type": "code", "outputs": [{"output_type": "display_data", "data": output}]}
        ),
    )
    assert words in told(run)


def test_a_document_that_is_none_is_refused(run):
    (run / "summary.json").write_text("[" * 5000)
    assert "summary.json" in told(run)


def test_the_command_says_what_cannot_be_found_and_its_exit_code_is_3(run, capsys):
    assert main(["verify", str(run)]) == 0
    said = capsys.readouterr().out
    assert "consistent with itself" in said
    assert CANNOT_FIND in said
    changed(run / "summary.json", set_at("completed", 10**6))
    assert main(["verify", "--json", str(run), str(SMALLEST)]) == 3
    found = json.loads(capsys.readouterr().out)
    assert [one["consistent"] for one in found] == [False, True]


@pytest.mark.parametrize("seed", range(16))
def test_damage_at_random_places_is_a_reason_and_never_a_traceback(run, seed):
    draw = random.Random(seed)
    file = draw.choice(sorted(run.iterdir()))
    content = bytearray(file.read_bytes())
    for _ in range(8):
        content[draw.randrange(len(content))] = draw.randrange(256)
    file.write_bytes(content)
    found = verify_run(run)
    assert all("\n" not in reason for reason in found.refused)
    if file.suffix == ".parquet" and file.stem in ("raw", "requests"):
        assert found.refused


def test_a_prompt_may_hold_any_text(run):
    changed(run / "manifest.json", set_at("parameters.prompt", "is a < b?\n<b>why</b>"))
    [names] = [check for check in verify_run(run).checks if check.name == "names"]
    assert names.refused == ()


@pytest.fixture(scope="module")
def sent_by_two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    plan = LoadPlan(concurrency=4, requests=40, warmup=2, prompts="distinct", salt=3)
    found, _ = asyncio.run(fleet_run(tmp_path_factory.mktemp("fleet"), plan, LocalFleet(2), slowly))
    return found.path


CHECKED = {"files", "names", "raw bytes", "requests", "clocks", "tokens", "samples"}


def of_fleet(folder: Path) -> dict[str, tuple[str, ...]]:
    """Return what is refused of a run of two workers, by check."""
    return {check.name: check.refused for check in verify_run(folder).checks if check.name in CHECKED}


def test_a_run_of_several_workers_is_derived_again_from_the_bytes_of_each(sent_by_two):
    assert of_fleet(sent_by_two) == dict.fromkeys(CHECKED, ())


@pytest.mark.parametrize(
    ("forge", "check", "reason"),
    [
        (lambda run: (run / "shards/0/notes.txt").write_text("x"), "files", "shards/0: notes.txt is no file of a run"),
        (lambda run: (run / "shards/x").mkdir(), "files", "shards/x is no folder of a worker"),
        (lambda run: (run / "shards/0/shards").mkdir(), "files", "shards/0: shards is no regular file"),
        (lambda run: os.rename(run / "shards/1", run.parent / "1"), "raw bytes", "requests.parquet"),
        (
            lambda run: changed(run / "summary.json", set_at("completed", 39)),
            "raw bytes",
            "summary.json: completed is 39, not 40",
        ),
        (
            lambda run: changed(run / "shards/1/manifest.json", set_at("endpoint.model", "<b>")),
            "names",
            "shards/1/manifest.json: endpoint.model has the character '<'",
        ),
    ],
)
def test_a_forged_run_of_several_workers_is_refused(sent_by_two, tmp_path, forge, check, reason):
    run = Path(shutil.copytree(sent_by_two, tmp_path / sent_by_two.name))
    forge(run)
    assert any(reason in one for one in of_fleet(run)[check]), verify_run(run).refused
