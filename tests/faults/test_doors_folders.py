"""A run folder or a site of unknown origin: nothing outside is written or deleted, what is broken is one line."""

import json
import os
import random
import shutil
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gptoss_bench.cli.main import main
from gptoss_bench.runs import derived_tables, readable_runs
from gptoss_bench.runs.finding import read_findings
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.pauses import FILES
from gptoss_bench.runs.planned_load import PlannedLoad
from gptoss_bench.runs.summary import LoadSummary, OtherSummary
from gptoss_bench.session.evaluate import evaluate
from gptoss_client import UsageError
from streams import chat


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A finished run with summary and findings."""
    results = tmp_path_factory.mktemp("good")
    folder = RunFolder.create(results, "load", parameters={"concurrency": 1}, run_id="20260101T000000Z-load-000000")
    for number in range(12):
        folder.add(chat(40, 10, 6, number, sent_ms=101.0 * number))
    requests, events = folder.tables()
    manifest = folder.manifest
    summary, _ = evaluate(
        LoadSummary(), requests, events, load=PlannedLoad(1), cpu_s=None, cpu_share=None, manifest=manifest
    )
    folder.write_document("lint", [{"rule": "a", "severity": "note", "evidence": "e", "advice": "b"}])
    return folder.finish(summary).path


@pytest.fixture
def run(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "runs" / good.name))


def rewritten(run: Path, **changes: object) -> Path:
    file = run / "manifest.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))
    return run


def told(capsys: pytest.CaptureFixture[str], *arguments: object) -> str:
    """Run a command that must refuse and return its line."""
    assert main(list(map(str, arguments))) == 2
    text = capsys.readouterr().err
    assert text.count("\n") == 1, text
    assert text.strip().isprintable()
    return text


def files_below(folder: Path) -> set[Path]:
    return {file for file in folder.rglob("*") if file.is_file() and file.name != "gptoss_bench.log"}


@pytest.mark.parametrize(
    "changes",
    [
        {"run_id": "../../../OUTSIDE"},
        {"run_id": "/tmp/OUTSIDE"},
        {"run_id": ".hidden"},
        {"run_id": "a\x1b]0;b"},
        {"run_id": ""},
        {"scenario": "../../../X"},
        {"scenario": "X Y"},
        {"status": 3},
        {"run_id": 3},
        {"schema_version": 99},
        {"schema_version": "2"},
        {"machine": "\x1b[31m"},
    ],
)
def test_a_manifest_of_a_stranger_writes_nothing_outside(run, changes, tmp_path, capsys):
    before = files_below(tmp_path)
    rewritten(run, **changes)
    if "schema_version" in changes and isinstance(changes["schema_version"], str):
        return  # read as an early run
    told(capsys, "report", run, "--out", tmp_path / "rep")
    assert files_below(tmp_path) == before


def test_a_run_with_a_name_that_is_no_file_name_is_not_made(tmp_path):
    with pytest.raises(UsageError, match="run id"):
        RunFolder.create(tmp_path, "load", parameters={}, run_id="../x")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("name", ["manifest.json", "summary.json", "lint.json", "requests.parquet", "events.parquet"])
def test_a_link_in_a_run_folder_is_not_followed(run, name, tmp_path):
    moved = tmp_path / name
    (run / name).rename(moved)
    (run / name).symlink_to(moved)
    with pytest.raises(UsageError, match="is a link, which is not followed"):
        found = Run.load(run)
        read_findings(run / "lint.json"), found.requests, found.events


def test_a_waiting_link_is_replaced_and_its_target_stays(run, tmp_path, capsys):
    secret = tmp_path / "secret"
    secret.write_text("mine")
    for name in ("lint.json", "summary.json", "requests.parquet"):
        (run / f"{name}.part").symlink_to(secret)
    assert main(["rebuild", str(run)]) == 0
    assert secret.read_text() == "mine"
    assert not list(run.glob("*.part"))
    capsys.readouterr()


BROKEN = {
    "lint.json": [b"", b"{", b"{}", b"[1]", b'[{"rule": "a"}]', b"[" * 9000, b"\xff", b"null"],
    "summary.json": [b"{", b"[]", b'{"percentile_rule": 3}', b'{"percentile_rule": "inclusive", "ttft_s": [1]}'],
}


@pytest.mark.parametrize(("name", "content"), [(name, one) for name, every in BROKEN.items() for one in every])
def test_a_broken_document_is_one_line(run, name, content, tmp_path, capsys):
    (run / name).write_bytes(content)
    assert Path(name).stem in told(capsys, "report", run, "--out", tmp_path / "rep")


@pytest.mark.parametrize("name", ["requests.parquet", "events.parquet", "raw.parquet"])
def test_a_damaged_table_is_one_line_or_read(run, name):
    whole = (run / name).read_bytes()
    chance = random.Random(1)
    damaged = [whole[:cut] for cut in (0, 3, len(whole) // 2, len(whole) - 1)]
    for _ in range(60):
        flipped = bytearray(whole)
        flipped[chance.randrange(len(flipped))] ^= 1 << chance.randrange(8)
        damaged.append(bytes(flipped))
    refused = 0
    for content in damaged:
        (run / name).write_bytes(content)
        read = Run.load(run)
        try:
            assert len(read.requests) >= 0
            assert read.event_columns(["phase", "itl_s", "tokens", "request_id"]) is not None
            list(read.traces())
        except UsageError:
            refused += 1
    assert refused >= 4


anything = st.recursive(
    st.none() | st.booleans() | st.integers(-(10**20), 10**20) | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=2),
    max_leaves=4,
)


def places(document: object, at: tuple[object, ...] = ()) -> list[tuple[object, ...]]:
    found = [at] if at else []
    if isinstance(document, dict):
        found += [place for name, one in document.items() for place in places(one, (*at, name))]
    return found


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(data=st.data())
def test_any_value_in_a_document_is_one_line_or_read(run, data):
    name = data.draw(st.sampled_from(["manifest.json", "summary.json"]))
    whole = (run / name).read_bytes()
    document = json.loads(whole)
    *path, last = data.draw(st.sampled_from(places(document)))
    parent = document
    for step in path:
        parent = parent[step]
    parent[last] = data.draw(anything)
    try:
        (run / name).write_text(json.dumps(document))
        loaded = Run.load(run)
        json.dumps([loaded.manifest.document(), loaded.summary.document()], allow_nan=False).encode()
    except UsageError:
        pass
    finally:
        (run / name).write_bytes(whole)


@settings(max_examples=60)
@given(data=st.data())
def test_a_number_that_is_not_finite_leaves_the_rest_of_a_summary_readable(good, data):
    summary = Run.load(good).summary
    values = summary.model_dump()
    numbers = [place for place in places(values) if isinstance(_at(values, place), float)]
    *path, last = data.draw(st.sampled_from(numbers))
    record = summary.model_copy(deep=True)
    parent = record
    for step in path:
        parent = parent[step] if isinstance(parent, dict) else getattr(parent, str(step))
    wrong = data.draw(st.sampled_from([float("nan"), float("inf"), float("-inf")]))
    if isinstance(parent, dict):
        parent[last] = wrong
    else:
        setattr(parent, str(last), wrong)
    again = LoadSummary.model_validate_json(json.dumps(record.document(), allow_nan=False), strict=True)
    assert again.completed == summary.completed


def _at(values: object, place: tuple[object, ...]) -> object:
    for step in place:
        values = values[step]
    return values


def test_metrics_with_a_nan_are_left_out_of_the_document():
    from gptoss_bench.runs.summary import AgreementRow, ServerMetrics

    nan = float("nan")
    row = AgreementRow(
        quantity="q", statistic="p50", unit="s", client=nan, server_low=1.0, server_high=None, apart=nan, error=0.0,
        agrees=None, client_n=1, server_n=1, basis="b",
    )  # fmt: skip
    summary = LoadSummary(server_metrics=ServerMetrics(counts={"a": nan, "b": 1.0}), agreement=[row])
    found = LoadSummary.model_validate_json(json.dumps(summary.document()), strict=True)
    assert (found.server_metrics.counts, found.agreement) == ({"b": 1.0}, [])


def test_a_document_holds_neither_half_characters_nor_the_key(tmp_path, monkeypatch):
    monkeypatch.setenv("GPTOSS_API_KEY", "sk-in-a-document")
    folder = RunFolder.create(tmp_path, "load", parameters={"prompt": "a \udfff b sk-in-a-document"})
    run = folder.finish(OtherSummary.model_validate({"a": "\ud800", "b": float("nan")}))
    text = (run.path / "manifest.json").read_text() + (run.path / "summary.json").read_text()
    assert "sk-in-a-document" not in text
    assert Run.load(run.path).manifest.parameters["prompt"] == "a \\udfff b [key]"


@pytest.fixture
def interrupted(tmp_path: Path) -> Path:
    """A run whose process was killed."""
    folder = RunFolder.create(tmp_path, "load", parameters={"concurrency": 1})
    for number in range(3):
        folder.add(chat(40, 10, 6, number, sent_ms=101.0 * number))
    folder._spool.close()
    (folder.path / "telemetry.jsonl").write_text("{}\n")
    return folder.path


OPENED_BY_REBUILD = ["raw.bin", "traces.jsonl", "telemetry.jsonl", "manifest.json"]


@pytest.mark.parametrize("name", OPENED_BY_REBUILD)
@pytest.mark.parametrize("what", ["link", "pipe", "folder"])
def test_rebuild_opens_only_files_of_the_folder(interrupted, name, what, tmp_path, capsys):
    outside = tmp_path / "outside"
    (interrupted / name).rename(outside)
    before = outside.read_bytes()
    if what == "link":
        (interrupted / name).symlink_to(outside)
    elif what == "pipe":
        os.mkfifo(interrupted / name)
    else:
        (interrupted / name).mkdir()
    code = main(["rebuild", str(interrupted)])
    assert outside.read_bytes() == before
    if name == "telemetry.jsonl":
        assert (code, Run.load(interrupted).table("requests").shape[0]) == (0, 3)
        assert not (interrupted / "host.parquet").exists()
    else:
        assert code == 2
        assert capsys.readouterr().err.count("\n") == 1


@pytest.mark.parametrize("name", ["stalls.parquet", "heartbeats.parquet", "host.parquet", "raw.parquet"])
@pytest.mark.parametrize("what", ["link", "pipe"])
def test_a_table_that_is_a_pipe_or_a_link_is_one_line(run, name, what):
    table = run / "requests.parquet"
    for each in (*(f"{one}.parquet" for one in FILES), "host.parquet"):
        shutil.copyfile(table, run / each)
    (run / name).unlink()
    os.mkfifo(run / name) if what == "pipe" else (run / name).symlink_to(table)
    read = {"host.parquet": lambda found: found.table("host"), "raw.parquet": lambda found: list(found.traces())}
    with pytest.raises(UsageError, match=rf"{name}: it is (no regular file|a link)"):
        read.get(name, lambda found: found.pauses)(Run.load(run))


def test_a_folder_of_runs_has_the_name_of_its_run_and_a_copy_elsewhere_may_have_another(run, tmp_path):
    other = run.with_name("20270101T000000Z-load-ffffff")
    run.rename(other)
    with pytest.raises(UsageError, match="a folder of runs has the run's name"):
        Run.load(other)
    assert list(readable_runs(tmp_path)) == []
    assert Run.load(other.rename(tmp_path / "copy")).run_id == run.name


def test_a_response_that_no_table_can_hold_is_one_failed_row(tmp_path, monkeypatch):
    whole = derived_tables.derive_tables

    def broken(traces):
        if any(trace.request_id == 5 and trace.pieces for trace in traces):
            raise ArithmeticError("a bug below")
        return whole(traces)

    folder = RunFolder.create(tmp_path, "load", parameters={"concurrency": 1})
    for number in range(8):
        folder.add(chat(40, 10, 6, number, sent_ms=101.0 * number))
    good = Run.load(folder.path).requests
    monkeypatch.setattr(derived_tables, "derive_tables", broken)
    before = Run.load(folder.path).requests
    found = folder.finish(status="incomplete", reason="a bug").requests
    assert found.equals(before)
    assert found[found.request_id != 5].equals(good[good.request_id != 5])
    [bad] = found[found.request_id == 5].itertuples()
    assert (bad.outcome, bad.failure) == ("failed", "malformed")
    assert bad.error == "the response cannot be put into a table (ArithmeticError: a bug below)"
    assert [len(trace.pieces) > 0 for trace in Run.load(folder.path).traces()] == [True] * 8
