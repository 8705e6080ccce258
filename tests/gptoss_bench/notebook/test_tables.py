"""A table of a notebook as HTML and as text."""

import pandas as pd

from gptoss_bench.notebook.tables import show_table

LONG = " ".join(["a <b>"] * 30)


def test_every_cell_has_its_own_alignment_and_no_text_is_cut():
    table = pd.DataFrame({"what": ["short", LONG], "found": [1.23456, None], "of": [7, 123456]}, index=["C1", "C2"])
    html = show_table(table)._repr_html_()
    cell = '<td style="text-align: left; vertical-align: top">{}</td>'
    for text in ("short", LONG.replace("<", "&lt;").replace(">", "&gt;"), "1.235", "", "123456"):
        assert cell.format(text) in html
    assert "<td>" not in html and "<th>" not in html and "<style" not in html
    assert '<th style="text-align: left; vertical-align: top">C2</th>' in html
    text = repr(show_table(table))
    assert "1.235" in text and "NaN" not in text and "object at" not in text


def test_a_long_cell_of_several_parts_shows_the_first_and_folds_the_others():
    parts = ["a & b <= c", *["more & more"] * 30]
    html = show_table(pd.DataFrame({"evidence": ["; ".join(parts), "short; and whole"]}))._repr_html_()
    first, *others = (part.replace("&", "&amp;").replace("<", "&lt;") for part in parts)
    assert f"<details><summary>{first}</summary>{'; '.join(others)}</details></td>" in html
    assert ">short; and whole</td>" in html and html.count("<details>") == 1


def test_numbers_are_aligned_right_and_rows_without_names_have_no_index():
    table = pd.DataFrame({"a": [1234567, 2], "b": [0.5, 1.0]})
    html = show_table(table, "{:,.1f}")._repr_html_()
    assert '<td style="text-align: right; vertical-align: top">1,234,567.0</td>' in html
    assert html.count("<th ") == 2  # the two column names
    assert "1,234,567.0" in repr(show_table(table, "{:,.1f}"))


def test_large_fractions_are_written_out():
    shown = show_table(pd.DataFrame({"a": [10110.4, -12345.6, 9999.0, 0.00011]}))._repr_html_()
    assert all(f">{number}<" in shown for number in ("10,110", "-12,346", "9999", "0.00011"))
