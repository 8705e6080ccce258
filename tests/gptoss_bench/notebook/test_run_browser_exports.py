"""What the results explorer lets a reader save is what it shows; what is ticked stays ticked."""

import base64
import io
from xml.etree import ElementTree

import pandas as pd
import pytest
from tests.gptoss_bench.notebook.test_run_browser import results, saved

from gptoss_bench.notebook.run_browser import RunBrowser
from gptoss_bench.runs.catalogue import RUN_COLUMNS, displayed_runs
from gptoss_bench.runs.catalogue import runs_table as read
from gptoss_bench.runs.folder import Run
from gptoss_bench.runs.request_detail import raw_bytes, request_events

__all__ = ["results"]  # the fixture


def test_what_is_saved_is_what_is_shown(results):
    explorer = RunBrowser(results)
    explorer.words.value, explorer.by.value, explorer.ascending.value = "1 error", "ttft_p50_s", True
    shown = displayed_runs(read(results), words="1 error", by="ttft_p50_s", ascending=True)
    csv = pd.read_csv(io.BytesIO(saved(explorer.table.value, "runs.csv")), keep_default_na=False, na_values={"": ""})
    assert list(csv.columns) == list(RUN_COLUMNS) and list(csv["run"]) == list(shown["run"])
    assert csv["ttft_p50_s"].to_list() == pytest.approx(shown["ttft_p50_s"].to_list())
    assert 'class="gptoss-mark">1 error, 2 note<' in explorer.table.value
    for tick in explorer.runs.children:
        tick.value = True
    [first, _] = explorer.chosen
    for html, name in ((explorer.comparison.value, "runs.svg"), (explorer.timeline.value, f"{first}-request-0.svg")):
        root = ElementTree.fromstring(saved(html, name))
        assert root.tag == "{http://www.w3.org/2000/svg}svg"
        assert len(root.findall(".//{http://www.w3.org/2000/svg}path")) > 20
        assert f"base64,{base64.b64encode(saved(html, name)).decode()}" in html.replace("data:image/svg+xml;", "")
    assert "&lt;NA&gt;" not in explorer.timeline.value
    events = pd.read_csv(io.BytesIO(saved(explorer.timeline.value, f"{first}-request-0.csv")))
    expected = request_events(Run.load(results / "runs" / first), 0)
    assert list(events.columns) == list(expected.columns) and len(events) == len(expected)
    assert "".join(events["raw"].fillna("")).encode() == raw_bytes(Run.load(results / "runs" / first), 0)


def test_a_run_stays_ticked_while_the_list_is_sorted_and_filtered(results):
    explorer = RunBrowser(results)
    explorer.words.value = "1 error"
    boxes = list(explorer.runs.children)
    explorer.ascending.value = True
    assert explorer.runs.children == (boxes[1], boxes[0])  # the same boxes
    boxes[0].value = True
    explorer.words.value = "no such run"
    assert explorer.chosen == [] and explorer.timeline.value == ""
    explorer.words.value = ""
    assert explorer.chosen == [boxes[0].description] and "its bytes" in explorer.timeline.value
