"""The run browser saves what it shows, and a ticked run stays ticked."""

import base64
import io
from xml.etree import ElementTree

import pandas as pd
import pytest
from tests.gptoss_bench.notebook.test_run_browser import results, saved

from gptoss_bench.notebook.run_browser import RunBrowser
from gptoss_bench.runs.catalogue import RUN_COLUMNS, filter_runs
from gptoss_bench.runs.catalogue import runs_table as read
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.request_detail import request_events, response_body

__all__ = ["results"]  # the fixture


def test_what_is_saved_is_what_is_shown(results):
    browser = RunBrowser(results)
    browser.filter.value, browser.sort_by.value, browser.ascending.value = "1 error", "ttft_p50_s", True
    shown = filter_runs(read(results), words="1 error", by="ttft_p50_s", ascending=True)
    csv = pd.read_csv(io.BytesIO(saved(browser.save.value, "runs.csv")), keep_default_na=False, na_values={"": ""})
    assert list(csv.columns) == list(RUN_COLUMNS) and list(csv["run"]) == list(shown["run"])
    assert csv["ttft_p50_s"].to_list() == pytest.approx(shown["ttft_p50_s"].to_list())
    assert 'class="gptoss-mark" title="1 error, 2 notes"' in browser.runs.children[1].children[1].value
    for tick in browser.ticks:
        tick.value = True
    [first, _] = browser.chosen
    for html, name in (
        (browser.comparison.value, "runs.svg"),
        (browser.request_detail.value, f"{first}-request-0.svg"),
    ):
        root = ElementTree.fromstring(saved(html, name))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 20
        assert f"base64,{base64.b64encode(saved(html, name)).decode()}" in html.replace("data:image/svg+xml;", "")
    assert "&lt;NA&gt;" not in browser.request_detail.value
    events = pd.read_csv(io.BytesIO(saved(browser.request_detail.value, f"{first}-request-0.csv")))
    expected = request_events(Run.load(results / "runs" / first), 0)
    assert list(events.columns) == list(expected.columns) and len(events) == len(expected)
    assert "".join(events["raw"].fillna("")).encode() == response_body(Run.load(results / "runs" / first), 0)


def test_a_run_stays_ticked_while_the_list_is_sorted_and_filtered(results):
    browser = RunBrowser(results)
    browser.filter.value = "1 error"
    boxes = browser.ticks
    browser.ascending.value = True
    assert browser.ticks == [boxes[1], boxes[0]]  # the same boxes
    boxes[0].value = True
    browser.filter.value = "no such run"
    assert browser.chosen == [] and browser.request_detail.value == ""
    browser.filter.value = ""
    assert browser.chosen == [boxes[0].run_id] and "its bytes" in browser.request_detail.value
