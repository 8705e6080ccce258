"""The derived files of a run are rebuilt from its raw data byte for byte, or the difference is reported."""

import asyncio
import json
from dataclasses import asdict, replace
from pathlib import Path

import pandas as pd
import pytest

from gptoss_bench.cli.main import main
from gptoss_bench.engines.launch_options import ServerChoice
from gptoss_bench.runs import spool
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.summary import OtherSummary, ServerProbes
from gptoss_bench.session.evaluate import DERIVED_FILES, DOCUMENTS
from gptoss_bench.session.session import serving
from gptoss_bench.stats.summary import FLOW_COLUMNS, GAP_COLUMNS, LAG_COLUMNS
from gptoss_client.event_loop import SocketPoller
from gptoss_client.plan import LoadPlan
from scripted import scripted, speak
from streams import chat, trace

TABLES = ("requests.parquet", "events.parquet")
PAUSES = ("stalls.parquet", "heartbeats.parquet")  # where the event loop has a heartbeat


def contents(run: Run) -> dict[str, bytes]:
    return {name: (run.path / name).read_bytes() for name in DERIVED_FILES if (run.path / name).exists()}


async def measured(results: Path) -> Run:
    """A run as a scenario leaves it, with an entry in its summary that is in no table."""
    plan = LoadPlan(concurrency=2, requests=12, warmup=2)
    async with scripted(speak) as server:
        server.documents["/v1/models"] = {"data": [{"id": "m"}]}
        choice = ServerChoice(url=server.endpoint.url, model="m", dialect="openai")
        async with serving("test", choice, plan=plan, results_dir=str(results)) as session:
            session.summary.probes = ServerProbes(http_version="HTTP/2")
            await session.load(plan)
            assert len(session.events) == session.requests.events.sum()
            return session.finish()


@pytest.fixture
def run(tmp_path: Path) -> Run:
    return asyncio.run(measured(tmp_path))


def test_a_finished_run_is_made_again_byte_for_byte(run, capsys):
    before = contents(run)
    names = [name for name in DERIVED_FILES if name in before]
    assert sorted(names) == sorted([*TABLES, *DOCUMENTS, *(PAUSES if SocketPoller.is_available() else ())])
    assert main(["rebuild", "--check", str(run.path)]) == 0
    for name in names[:-2]:
        (run.path / name).unlink()
    assert main(["rebuild", str(run.path)]) == 0
    assert contents(run) == before
    assert capsys.readouterr().out.splitlines()[: len(names)] == [f"{name}: the same" for name in names]
    assert Run.load(run.path).summary.probes == ServerProbes(http_version="HTTP/2")


@pytest.mark.parametrize("name", [*TABLES, *DOCUMENTS])
def test_a_check_tells_what_differs_and_writes_nothing(run, capsys, name):
    (run.path / name).write_bytes(contents(run)[name].replace(b"a", b"b"))
    if name == "summary.json":
        (run.path / name).write_text(json.dumps(run.summary.document() | {"completed": 11}))
    changed = contents(run)
    assert main(["rebuild", "--check", str(run.path)]) == 1
    assert f"{name}: differs" in capsys.readouterr().out
    assert contents(run) == changed


def test_findings_that_an_older_kit_did_not_make_are_named(run, capsys):
    findings = json.loads((run.path / "lint.json").read_text())
    first, second, *rest = findings
    kept = [second | {"evidence": "other words"}, *rest, first | {"rule": "no-such-rule"}]
    (run.path / "lint.json").write_text(json.dumps(kept))
    (run.path / "summary.json").write_text(json.dumps(run.summary.document()))  # the same, written otherwise
    assert main(["rebuild", "--check", str(run.path)]) == 1
    reported = capsys.readouterr().out.splitlines()
    words = f"added {first['rule']}; removed no-such-rule; changed {second['rule']}"
    assert reported[-2:] == ["summary.json: differs only in its formatting", f"lint.json: differs: {words}"]


def test_a_run_without_a_plan_has_its_tables_made_again(folder):
    folder.add(chat(10, 5, 3))
    done = folder.finish(OtherSummary.model_validate({"mine": 1}))
    before = contents(done)
    assert main(["rebuild", str(done.path)]) == 0
    assert contents(done) == before
    assert sorted(before) == sorted([*TABLES, "summary.json"])


def test_a_run_without_raw_data_is_refused_in_words(folder, capsys):
    done = folder.finish()
    assert main(["rebuild", str(done.path)]) == 2
    assert "has no raw data" in capsys.readouterr().err


def test_the_columns_that_a_summary_needs_are_those_of_the_table(folder, monkeypatch):
    """Also where a batch has no event, a number needs its bytes, and phases differ."""
    monkeypatch.setattr(spool, "BATCH", 2)
    for request_id in range(2):
        folder.add(trace([], request_id, ending="connect", status=None))
    assert len(folder.event_columns(FLOW_COLUMNS)) == 0
    for request_id, lag in enumerate((3, 2**40, 70_000), 1000):
        one = chat(10, 5, 3, request_id, phase="warmup" if lag == 3 else "measure")
        folder.add(replace(one, lags_ns=() if lag == 70_000 else (lag,) * len(one.pieces)))
    whole = folder.tables()[1]
    for names in (FLOW_COLUMNS, LAG_COLUMNS, GAP_COLUMNS):
        few = folder.event_columns(names)
        assert sorted(few) == sorted(names)
        for name in names:
            pd.testing.assert_series_equal(few[name].astype(whole[name].dtype), whole[name])


def test_batches_change_no_row(tmp_path, monkeypatch):
    """Row groups of a few requests each, against one of all."""
    runs = []
    for run_id, size in (("few", 2), ("all", 200)):
        monkeypatch.setattr(spool, "BATCH", size)
        folder = RunFolder.create(tmp_path, "test", parameters=asdict(LoadPlan(concurrency=1)), run_id=run_id)
        for request_id in range(7):
            folder.add(chat(10, 5, 3, request_id))
            if request_id == 4:
                assert len(folder.tables()[0]) == 5  # and more may follow
        runs.append(folder.finish())
    few, whole = runs
    pd.testing.assert_frame_equal(few.requests, whole.requests)
    pd.testing.assert_frame_equal(few.events, whole.events)
    assert list(few.traces()) == list(whole.traces()) == [chat(10, 5, 3, request_id) for request_id in range(7)]
    for name in TABLES:
        (few.path / name).unlink()
    again = Run.load(few.path)
    pd.testing.assert_frame_equal(again.requests, whole.requests)
    pd.testing.assert_frame_equal(again.events, whole.events)
