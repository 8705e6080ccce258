"""A headless chromium for tests, driven by Playwright: Debian's own, so that nothing is fetched besides."""

import importlib.util
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import pytest


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


needs_browser = [
    pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: apt install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("playwright") is None, reason="no playwright: make test"),
]


@contextmanager
def a_browser() -> Iterator[Any]:
    """A browser of its own; `new_page` of it opens a tab with a profile that nothing else has."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(
            executable_path=chromium(), args=["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        )
        try:
            yield browser
        finally:
            browser.close()
