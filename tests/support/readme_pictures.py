"""Make the pictures of the README again, in docs/pictures/.

    PYTHONPATH=lib:tests/support:. .venv/bin/python tests/support/readme_pictures.py

The run panel is that of JupyterLab while the embedded engine answers a load; the page is the committed site's front.
"""

import io
import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from PIL import Image

from browser import a_browser
from gptoss_bench import paths
from lab_pages import Tab, lab

FOLDER = paths.ROOT / "docs" / "pictures"
PANEL = 6  # cells of explore.ipynb up to the run panel, that of injected parameters included
LOAD = {"requests": 3000, "concurrency": 4, "warmup": 0, "max_tokens": 64}
ENOUGH = 60  # marks in the plots
COLOURS = 64
THEMES = {"light": "JupyterLab Light", "dark": "JupyterLab Dark"}


def save(content: bytes, name: str) -> None:
    """Write a screenshot with few colours."""
    picture = Image.open(io.BytesIO(content)).convert("RGB")
    FOLDER.mkdir(exist_ok=True)
    picture.quantize(COLOURS, dither=Image.Dither.NONE).save(FOLDER / f"{name}.png", optimize=True)
    print(FOLDER / f"{name}.png", (FOLDER / f"{name}.png").stat().st_size)


def front_page(browser: Any) -> None:
    for scheme in THEMES:
        page = browser.new_page(color_scheme=scheme, viewport={"width": 1280, "height": 800})
        page.goto((paths.SITE / "index.html").as_uri())
        save(page.screenshot(), f"site-{scheme}")


def run_panel(browser: Any) -> None:
    with TemporaryDirectory() as made, lab(Path(made)) as where:
        where.explore("explore", cells=PANEL, results_dir=Path(made) / "results", **LOAD)
        tab = Tab(browser, where, "explore", width=1120, height=980)
        tab.command("application:toggle-left-area")
        tab.command("notebook:run-all-cells")
        tab.page.get_by_role("button", name="Start", exact=True).click()
        tab.circles(more_than=ENOUGH)
        for scheme, theme in THEMES.items():
            tab.command(f"apputils:change-theme', {{theme: '{theme}'}}, '")
            tab.page.wait_for_function(
                f"() => document.body.dataset.jpThemeLight === '{str(scheme == 'light').lower()}'"
            )
            tab.page.locator(".jp-OutputArea-output select").first.evaluate("each => each.scrollIntoView()")
            tab.page.wait_for_timeout(2000)  # the plots are drawn again
            save(tab.page.screenshot(), f"run-panel-{scheme}")
        tab.page.get_by_role("button", name="Stop", exact=True).click()
        tab.wait_for_words("stopped; completed requests were saved")


if __name__ == "__main__":
    with a_browser() as found:
        for make in (front_page, run_panel):
            if sys.argv[1:] in ([], [make.__name__]):
                make(found)
