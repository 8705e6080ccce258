"""The committed site in a real browser: three widths, light, dark and on paper, and the rules of axe-core."""

import gzip
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest

from browser import a_browser, needs_browser
from gptoss_bench import paths

pytestmark = needs_browser

AXE = Path(__file__).parent / "axe" / "axe.min.js.gz"
LOOKS = {"light": ("light", "screen"), "dark": ("dark", "screen"), "print": ("light", "print")}
WIDTHS = (400, 800, 1400)
# Each text that is seen and smaller than 12 px, and each picture that is cut or does not load.
SMALL = """() => { const found = [], walk = document.createTreeWalker(document.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const parent = node.parentElement;
    if (!node.data.trim() || parent.closest('style, math') || !parent.checkVisibility()) continue;
    const size = parseFloat(getComputedStyle(parent).fontSize);
    if (size < 12) found.push([size, node.data.trim().slice(0, 60)]);
  }
  return found; }"""
CUT = """() => [...document.images].filter(each => {
  const box = each.getBoundingClientRect(), frame = each.closest('figure').getBoundingClientRect();
  return !each.complete || !each.naturalWidth || box.right > Math.min(frame.right, innerWidth) + 1
    || Math.abs(box.width / box.height - each.naturalWidth / each.naturalHeight) > 0.02;
}).map(each => each.src)"""
WIDE = "() => document.documentElement.scrollWidth - document.documentElement.clientWidth"
SERIOUS = """async () => (await axe.run(document, {resultTypes: ['violations']})).violations
  .filter(each => ['serious', 'critical'].includes(each.impact))
  .map(each => [each.id, each.nodes.slice(0, 3).map(node => node.html.slice(0, 160))])"""


def pages() -> list[str]:
    """The front page, the page of the verdicts, one of a load and one with tables of many cells."""
    texts = {file.name: file.read_text(encoding="utf-8") for file in sorted(paths.SITE.glob("*.html"))}
    load = next(name for name, text in texts.items() if "The distribution of the inter-token latency" in text)
    heat = [name for name, text in texts.items() if 'class="heat"' in text]
    return list(dict.fromkeys(["index.html", "verdicts.html", load, *heat[:1]]))


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    with a_browser() as found:
        yield found


@pytest.fixture(params=LOOKS)
def tab(request: pytest.FixtureRequest, browser: Any) -> Iterator[Any]:
    """A tab with this look, in `asked` of which is what it asked for that is not a file of this machine."""
    scheme, media = LOOKS[request.param]
    found = browser.new_page(color_scheme=scheme)
    found.emulate_media(color_scheme=scheme, media=media)
    found.asked = []
    found.on("request", lambda one: urlsplit(one.url).scheme in ("file", "data") or found.asked.append(one.url))
    yield found
    found.close()


@pytest.mark.parametrize("name", pages())
def test_a_page_fits_each_width_with_whole_pictures_and_legible_text_and_asks_nobody(tab: Any, name: str) -> None:
    tab.goto((paths.SITE / name).as_uri())
    for width in WIDTHS:
        tab.set_viewport_size({"width": width, "height": 900})
        assert tab.evaluate(WIDE) <= 0, width
        assert tab.evaluate(CUT) == [], width
        assert tab.evaluate(SMALL) == [], width
    assert tab.asked == []


def test_the_readme_shows_pictures_that_are_there_and_small() -> None:
    shown = re.findall(r'(?:src|srcset)="(docs/pictures/[^"]+)"', (paths.ROOT / "README.md").read_text())
    assert {Path(name).name for name in shown} == {file.name for file in (paths.ROOT / "docs" / "pictures").iterdir()}
    assert all((paths.ROOT / name).stat().st_size < 150e3 for name in shown)


def test_axe_sees_a_picture_without_a_text(browser: Any) -> None:
    page = browser.new_page()
    page.set_content('<html lang="en"><title>t</title><main><img src="data:,"></main></html>')
    page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    assert [rule for rule, _ in page.evaluate(SERIOUS)] == ["image-alt"]
    page.close()


@pytest.mark.parametrize("name", pages())
@pytest.mark.parametrize("look", ["light", "dark"])
def test_axe_finds_nothing_serious(browser: Any, name: str, look: str) -> None:
    # The pages allow no script, so their policy is set aside for axe alone.
    context = browser.new_context(bypass_csp=True, color_scheme=look, viewport={"width": 1000, "height": 900})
    page = context.new_page()
    page.goto((paths.SITE / name).as_uri())
    page.evaluate("() => document.querySelectorAll('details').forEach(each => each.open = true)")
    page.evaluate(gzip.decompress(AXE.read_bytes()).decode())
    assert page.evaluate(SERIOUS) == []
    context.close()
