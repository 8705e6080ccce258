"""The run browser: the table of runs on disk, a difference with its interval, one request down to its bytes."""

import asyncio
import base64
import re
import shutil

import pytest

import published
from gptoss_bench import paths
from gptoss_bench.figures.comparison import request_timeline
from gptoss_bench.notebook.run_browser import (
    NAME_WIDTH,
    RunBrowser,
    comparison_html,
    open_run_browser,
    shown_value,
)
from gptoss_bench.runs.catalogue import RUN_COLUMNS, filter_runs
from gptoss_bench.runs.catalogue import runs_table as read
from gptoss_bench.runs.finding import Finding
from gptoss_bench.runs.folder import Run, RunFolder
from gptoss_bench.runs.planned_load import PlannedLoad
from gptoss_bench.runs.record import write_record
from gptoss_bench.runs.request_detail import request_events, response_body
from gptoss_bench.runs.summary import LoadSummary
from gptoss_bench.session.evaluate import evaluate, findings_document
from gptoss_bench.stats.comparison import ComparedResult, compare_results
from gptoss_client.errors import UsageError
from gptoss_client.load import run_load
from gptoss_client.plan import LoadPlan
from scripted import scripted, speak


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """Two runs against a scripted server, one that was interrupted, and a folder without a run."""
    where = tmp_path_factory.mktemp("results")

    async def made(run_id: str) -> None:
        plan = LoadPlan(concurrency=2, requests=6, warmup=1)
        async with scripted(speak) as server:
            with RunFolder.create(
                where, "explore", parameters={"concurrency": 2, "salt": run_id}, run_id=run_id
            ) as folder:
                folder.set_endpoint(server.endpoint)
                folder.manifest.calibration = None
                await run_load(plan, server.endpoint, folder.add)
                made = {"load": PlannedLoad(2), "cpu_s": None, "cpu_share": 0.1, "manifest": folder.manifest}
                summary, _ = evaluate(LoadSummary(), folder.requests(), folder.event_columns, **made)
                findings = [Finding("a-rule", severity, "seen", "do this") for severity in ("note", "error", "note")]
                folder.write_document("lint", findings_document(findings))
                folder.finish(summary)

    for run_id in ("20260101T000001Z-explore-aaaaaa", "20260101T000002Z-explore-bbbbbb"):
        asyncio.run(made(run_id))
    RunFolder.create(where, "explore", parameters={}, run_id="20260101T000003Z-explore-cccccc")
    broken = where / "runs" / "20260101T000004Z-explore-dddddd"
    broken.mkdir()
    (broken / "manifest.json").write_text("[]")
    return where


def test_every_run_on_disk_is_a_row_the_newest_first(results):
    table = read(results)
    assert [run[-6:] for run in table["run"]] == ["dddddd", "cccccc", "bbbbbb", "aaaaaa"]
    assert table["status"].iloc[0].startswith("not readable: ") and table["status"].iloc[1] == "incomplete"
    last = table.iloc[-1]
    assert (last["completed"], last["failed"], last["concurrency"]) == (6, 0, 2)
    assert last["lint"] == "1 error, 2 notes" and last["ttft_p50_s"] > 0
    assert read(results / "nothing").empty


def test_the_published_runs_have_their_verdicts():
    table = read(paths.RESULTS).set_index("scenario")
    assert re.search(r"\d+ measured elsewhere", " ".join(table["verdicts"]))
    assert (table["lint"] != "").any()


def test_rows_are_filtered_by_words_and_sorted_by_a_column(results):
    table = read(results)
    assert list(filter_runs(table, words="INCOMPLETE explore")["run"]) == ["20260101T000003Z-explore-cccccc"]
    by_time = filter_runs(table, by="ttft_p50_s", ascending=True)["ttft_p50_s"]
    assert by_time.iloc[0] <= by_time.iloc[1] and by_time.iloc[2:].isna().all()
    assert filter_runs(table, words="(no regex[").empty
    with pytest.raises(UsageError, match="there is no column 'speed'"):
        filter_runs(table, by="speed")


def test_one_request_is_opened_down_to_its_bytes(results):
    run = Run.load(results / "runs" / "20260101T000001Z-explore-aaaaaa")
    events, body = request_events(run, 3), response_body(run, 3)
    assert "".join(events["raw"]).encode() == body and body.endswith(b"data: [DONE]\n\n")
    row = run.requests.set_index("request_id").loc[3]
    first = events[events["text"] != ""].iloc[0]
    assert first["at_s"] == pytest.approx(row["ttft_s"]) and len(events) == row["events"]
    assert events["gap_s"].sum() == pytest.approx(events["at_s"].iloc[-1])
    figure = request_timeline(events, 3, run.manifest)
    assert figure.axes[0].get_title() == "Request 3, event by event"
    with pytest.raises(UsageError, match="keeps no bytes of a request 99"):
        request_events(run, 99)


def saved(html: str, name: str) -> bytes:
    [data] = re.findall(rf'download="{re.escape(name)}" href="data:[^;]*;base64,([^"]*)"', html)
    return base64.b64decode(data)


def test_the_browser_compares_chosen_runs_and_exports_the_result(results):
    browser = RunBrowser(results)
    assert len(browser.ticks) == 4
    assert saved(browser.save.value, "runs.csv").decode().splitlines()[0] == ",".join(RUN_COLUMNS)
    browser.filter.value = "1 error"
    browser.sort_by.value, browser.ascending.value = "run", True
    first, second = (tick.run_id for tick in browser.ticks)
    assert first < second
    for tick in browser.ticks:
        tick.value = True
    assert browser.chosen == [first, second]
    assert "95 % intervals" in browser.comparison.value and "same parameters" in browser.comparison.value
    assert "ITL, ms" in browser.comparison.value and "[mixed-" not in browser.comparison.value
    assert re.search(r"repeat the run: \d waves", browser.comparison.value)
    assert b"<svg" in saved(browser.comparison.value, "runs.svg")
    browser.request.value = 2
    assert b"data: [DONE]" in saved(browser.request_detail.value, f"{first}-request-2.txt")
    browser.request.value = 99
    assert "keeps no bytes of a request 99" in browser.request_detail.value
    browser.filter.value = ""
    browser.ticks[-1].value = True
    assert 'role="alert"' in browser.comparison.value


def test_the_list_scrolls_and_not_each_of_its_rows(results):
    head, *rows = RunBrowser(results).runs.children
    assert {row.layout.overflow for row in (head, *rows)} == {"visible"}
    assert {row.children[0].layout.width for row in rows} == {NAME_WIDTH} and NAME_WIDTH in head.value


def test_a_median_gap_that_is_not_resolved_is_not_shown_as_0():
    assert [shown_value("itl_p50_ms", value) for value in (0.0, 12.0549, None)] == ["not res.", "12.05", ""]


def test_an_incomplete_run_is_named_in_the_comparison(results, tmp_path):
    shutil.copytree(results, tmp_path, dirs_exist_ok=True)
    first, second = "20260101T000001Z-explore-aaaaaa", "20260101T000002Z-explore-bbbbbb"
    manifest = Run.load(tmp_path / "runs" / second).manifest
    stopped = manifest.model_copy(update={"status": "incomplete", "reason": "stopped before its end"})
    write_record(tmp_path / "runs" / second / "manifest.json", stopped)
    shown = comparison_html(tmp_path, [first, second])
    assert "01-01 00:00 explore bbbbbb is incomplete: stopped before its end" in shown
    assert "is incomplete" not in comparison_html(results, [first, second])


def test_the_published_runs_are_compared_as_the_command_does():
    first, *_, second = sorted(path.name for path in published.folders() if "-vllm-h100-" in path.name)
    shown = comparison_html(paths.RESULTS, [first, second])
    sides = [[ComparedResult(Run.load(paths.RUNS / name).load_summary)] for name in (first, second)]
    for one in compare_results(*sides):
        assert f"{one.change:+.1%}" in shown and one.word == "repeat the run" and f"<td>{one.text}</td>" in shown
    assert "[mixed-versions]" in shown and "[mixed-models]" in shown


def test_without_a_frontend_there_is_a_table_and_a_comparison(results, monkeypatch):
    monkeypatch.delenv("JPY_SESSION_NAME", raising=False)
    shown = open_run_browser(str(results)).data
    assert "bbbbbb" in shown and "95 % intervals" in shown and "<button" not in shown
    assert b"<svg" in saved(shown, "runs.svg")
    assert "<table" in open_run_browser(str(results / "nothing")).data
