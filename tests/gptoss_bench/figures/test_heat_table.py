"""A table of coloured cells: readable without its colours, and in the colours of a light and of a dark page."""

from bs4 import BeautifulSoup
from hypothesis import given
from hypothesis import strategies as st

from gptoss_bench.figures.heat_table import DEEPEST, NEGATIVE, POSITIVE, HeatCell, HeatTable

PAGES = {"#1d2127": "#ffffff", "#e3e6ea": "#15181c"}  # text and ground of site/templates/style.css, light and dark
WORDS = st.text(st.characters(categories=["L", "N", "P", "S"]), max_size=6)
CELLS = st.builds(HeatCell, WORDS, WORDS, st.floats(-2, 2))


def luminance(colour: tuple[float, float, float]) -> float:
    parts = [v / 12.92 if v <= 0.03928 else ((v + 0.055) / 1.055) ** 2.4 for v in (c / 255 for c in colour)]
    return sum(part * weight for part, weight in zip(parts, (0.2126, 0.7152, 0.0722), strict=True))


def rgb(colour: str) -> tuple[float, float, float]:
    return tuple(int(colour[at : at + 2], 16) for at in (1, 3, 5))


def test_the_deepest_colour_keeps_the_contrast_of_the_text_on_a_light_and_on_a_dark_page():
    for ink, paper in PAGES.items():
        for shade in (POSITIVE, NEGATIVE):
            ground = tuple(DEEPEST * a + (1 - DEEPEST) * b for a, b in zip(shade, rgb(paper), strict=True))
            light, dark = sorted((luminance(ground), luminance(rgb(ink))), reverse=True)
            assert (light + 0.05) / (dark + 0.05) > 7  # AAA of WCAG


@given(st.dictionaries(WORDS, st.lists(CELLS, min_size=3, max_size=3), min_size=1, max_size=4))
def test_every_row_and_cell_is_there_under_its_headings(rows):
    table = HeatTable("a <title>", "b & c", "row", {"first": ["x", "y"], "<second>": ["z"]}, rows)
    soup = BeautifulSoup(table._repr_html_(), "html.parser")
    assert soup.p.strong.get_text() == soup.table["aria-label"] == "a <title>"
    assert [(th.get_text(), th.get("colspan")) for th in soup.thead("th")[:2]] == [("first", "2"), ("<second>", "1")]
    assert [th.get_text() for th in soup.thead("th")[2:]] == ["row", "x", "y", "z"]
    found = soup.tbody("tr")
    assert [row.th.get_text() for row in found] == list(rows)
    for row, cells in zip(found, rows.values(), strict=True):
        assert [td.get_text() for td in row("td")] == [cell.text + cell.note for cell in cells]
    assert all(name in repr(table) for name in rows)


def test_sign_and_size_choose_the_colour_and_zero_has_none():
    cells = [HeatCell("+9", shade=1), HeatCell("+1", shade=0.2), HeatCell("0"), HeatCell("-9", shade=-3)]
    html = HeatTable("t", "n", "row", {"": ["a", "b", "c", "d"]}, {"r": cells})._repr_html_()
    styles = [td["style"] for td in BeautifulSoup(html, "html.parser").tbody("td")]
    assert [style.partition(";")[0] for style in styles[:2]] == [
        "background:rgba(0,114,178,0.32)",
        "background:rgba(0,114,178,0.08)",
    ]
    assert "background" not in styles[2]
    assert styles[3].startswith("background:rgba(213,94,0,0.32)")
