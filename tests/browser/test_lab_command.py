"""JupyterLab as `make lab` opens it: at a copy of explore.ipynb, without a question, and figures follow its theme."""

import nbformat
import pytest

from browser import a_browser, needs_browser
from lab_pages import Lab, Tab, lab
from serving import PATIENCE_S, wait_until

pytestmark = needs_browser

FIGURE = """\
from gptoss_bench import figures, readings
from gptoss_bench.notebook import show_figure
from gptoss_bench.runs import Manifest

pairs, share, manifest = {"p50": (8.835, 2.271), "p90": (11.235, 2.874)}, 88 / 344, Manifest(labels=["TINY MODEL"])
show_figure(
    figures.ttft_over_latency(pairs, share, "88 / 344", manifest),
    readings.ttft_over_latency(pairs, share),
    manifest,
)"""
NEWS = """() => fetch('/lab/api/settings/@jupyterlab/apputils-extension:notification').then(each => each.json())
  .then(each => each.schema.properties.fetchNews.default)"""
LOOK = "each => getComputedStyle(each).filter"


@pytest.fixture(scope="module")
def where(tmp_path_factory):
    with lab(tmp_path_factory.mktemp("lab"), as_users_open_it=True) as found:
        book = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FIGURE)])
        book.metadata["kernelspec"] = {"name": "python3", "display_name": "Python 3", "language": "python"}
        nbformat.write(book, found.root / "figure.ipynb")
        yield found


@pytest.fixture(scope="module")
def browser():
    with a_browser() as found:
        yield found


def test_it_opens_a_copy_of_explore_and_asks_nothing(where: Lab, browser):
    page = browser.new_page(viewport={"width": 1400, "height": 1000})
    page.set_default_timeout(PATIENCE_S * 1e3)
    page.goto(f"{where.url}/")
    page.wait_for_url("**/lab/tree/explore.ipynb*")
    page.wait_for_function("() => document.querySelector('.jp-Notebook .jp-Cell') !== null")
    wait_until(lambda: where.settled("explore"), "the kernel is idle")
    page.locator(".jp-Notebook h1", has_text="Explore").first.wait_for()
    assert page.evaluate(NEWS) == "false"  # else it asks, some time after it has opened
    assert page.get_by_text("official Jupyter news").count() == 0
    assert {file.name for file in where.root.glob("*.ipynb")} > {"explore.ipynb", "endpoint.ipynb"}
    page.close()


def test_a_figure_has_its_reading_below_it_and_follows_the_dark_theme(where: Lab, browser):
    tab = Tab(browser, where, "figure")
    tab.command("notebook:run-all-cells")
    tab.wait_for_words("TINY MODEL: Published TTFT divided by published latency")
    picture = tab.page.locator(".jp-RenderedImage img").first
    assert picture.evaluate(LOOK) == "none"
    tab.command("apputils:change-theme', {theme: 'JupyterLab Dark'}, '")
    tab.page.wait_for_function("() => document.body.dataset.jpThemeLight === 'false'")
    assert picture.evaluate(LOOK).startswith("invert")
    tab.picture("figure-dark")
