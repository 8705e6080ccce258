"""A table that is read on GitHub, in JupyterLab and as text."""

import pandas as pd

from gptoss_bench.notebook.tables import page

LONG = " ".join(["a <b>"] * 30)


def test_what_is_aligned_says_so_in_its_own_cell_and_no_text_is_cut():
    table = pd.DataFrame({"what": ["short", LONG], "found": [1.23456, None], "of": [7, 123456]}, index=["C1", "C2"])
    html = page(table)._repr_html_()
    cell = '<td style="text-align: left; vertical-align: top">{}</td>'
    for text in ("short", LONG.replace("<", "&lt;").replace(">", "&gt;"), "1.235", "", "123456"):
        assert cell.format(text) in html
    assert "<td>" not in html and "<th>" not in html and "<style" not in html
    assert '<th style="text-align: left; vertical-align: top">C2</th>' in html
    text = repr(page(table))
    assert "1.235" in text and "NaN" not in text and "object at" not in text


def test_numbers_alone_stand_below_each_other_and_rows_without_a_name_have_none():
    table = pd.DataFrame({"a": [1234567, 2], "b": [0.5, 1.0]})
    html = page(table, "{:,.1f}")._repr_html_()
    assert '<td style="text-align: right; vertical-align: top">1,234,567.0</td>' in html
    assert html.count("<th ") == 2  # the two names
    assert "1,234,567.0" in repr(page(table, "{:,.1f}"))
