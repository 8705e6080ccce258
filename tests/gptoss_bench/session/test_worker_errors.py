"""The timing errors of one load by number of workers: measured, and put into docs/scale.md."""

import asyncio

import pytest

from gptoss_bench.files import read_json
from gptoss_bench.runs.record import read_record
from worker_errors import BEGIN, FILE, PAGE, WorkerErrors, measure, sentence, table, text


def test_each_number_of_workers_gets_every_event_of_the_server():
    levels = asyncio.run(measure([(4, 40.0)], workers=(1, 2), repeats=1))
    assert [one.client for one in levels] == ["1", "2"]
    assert all(one.unmatched == 0 and one.events > 0 for one in levels)
    rows = table(levels).splitlines()[2:]
    assert [row.split(" | ")[:2] for row in rows] == [["| 4 × 40", "1"], ["| 4 × 40", "2"]]
    assert sentence(levels).startswith("p99 of the errors at 4 × 40 tokens/s: ")


def test_the_page_has_the_measured_table():
    page = PAGE.read_text(encoding="utf-8")
    assert BEGIN in page
    if not FILE.exists():
        pytest.skip("results/worker-errors.json was not measured yet: python tests/support/worker_errors.py")
    assert text(read_record(WorkerErrors, read_json(FILE), FILE)) in page
