"""explore.ipynb in a real JupyterLab in a real browser, by keyboard: start, watch, stop, and find the run."""

import importlib.util
import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import contextmanager

import pytest

from browser import chromium, page
from gptoss_bench import paths
from gptoss_bench.store import Run
from serving import wait_until
from test_notebooks import prepare

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
# The label of the control that has the focus; a button is its own.
FOCUS = """(() => { const on = document.activeElement;
  const label = on.type === 'checkbox' ? on.parentElement : on.closest('.jupyter-widgets')?.querySelector('label');
  return (on.tagName === 'BUTTON' ? on : label)?.textContent.trim() ?? ''; })()"""
OUTPUTS = "[...document.querySelectorAll('.jp-OutputArea-output')].map(each => each.innerText).join('\\n')"

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(chromium() is None, reason="no chromium on PATH: apt install chromium"),
    pytest.mark.skipif(importlib.util.find_spec("websocket") is None, reason="no websocket-client"),
]


@contextmanager
def lab(folder):
    """JupyterLab on a folder, with settings of its own; yields its address."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, content in SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    (folder / "root").mkdir()
    options = [f"--port={port}", "--port-retries=0", "--ip=127.0.0.1", "--no-browser", "--allow-root"]
    options += ["--IdentityProvider.token=", f"--notebook-dir={folder / 'root'}", "--expose-app-in-browser"]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", "jupyterlab", *options], stdout=log, stderr=log, env=os.environ | own, cwd=folder
        )
    try:
        url = f"http://127.0.0.1:{port}"
        wait_until(lambda: answers(url), "JupyterLab answers")
        yield url
    finally:
        server.terminate()
        server.wait(timeout=60)


def answers(url: str) -> bool:
    try:
        asked(f"{url}/api/status")
    except OSError:
        return False
    return True


def asked(url: str):
    with urllib.request.urlopen(url, timeout=60) as answer:
        return json.load(answer)


def settled(url: str) -> bool:
    """Whether there is one kernel, idle, and still so a while later: Lab may start two and end one of them."""

    def idle():
        return [each["id"] for each in asked(f"{url}/api/kernels") if each["execution_state"] == "idle"]

    first = idle()
    time.sleep(1.5)
    return len(first) == 1 and idle() == first


def tab_to(browser, name: str) -> None:
    for _ in range(40):
        if browser.evaluate(FOCUS) == name:
            return
        browser.press("Tab")
    browser.screenshot(paths.BUILD / "explore.png")
    raise AssertionError(f"no way to {name} with the Tab key; the focus is on {browser.evaluate(FOCUS)!r}")


def test_a_run_is_started_watched_stopped_and_found_by_keyboard(tmp_path):
    results = tmp_path / "results"
    with lab(tmp_path) as url, page(tmp_path / "profile") as browser:
        values = {"results_dir": results, "requests": 3000, "concurrency": 2, "warmup": 0, "max_tokens": 32}
        injected = [part for name, value in values.items() for part in ("-p", name, str(value))]
        prepare(paths.NOTEBOOKS / "explore.ipynb", tmp_path / "root" / "explore.ipynb", *injected)
        browser.call("Page.navigate", url=f"{url}/lab/tree/explore.ipynb")
        browser.wait("typeof jupyterapp !== 'undefined' && document.querySelector('.jp-Notebook .jp-Cell') !== null")
        wait_until(lambda: settled(url), "the kernel is idle")
        browser.evaluate("void jupyterapp.commands.execute('notebook:run-all-cells')")
        browser.wait(f"({OUTPUTS}).includes('TTFT p50')")  # of the last cell, an awaited bench
        browser.evaluate("document.querySelector('.jp-OutputArea-output select').focus()")

        tab_to(browser, "concurrency")
        browser.evaluate("document.activeElement.select()")
        browser.type("0")
        tab_to(browser, "Start")
        browser.press("Enter")
        browser.wait(f"({OUTPUTS}).includes('concurrency must be 1 or more, not 0')")
        browser.evaluate("document.querySelector('.jp-OutputArea-output select').focus()")
        tab_to(browser, "concurrency")
        browser.evaluate("document.activeElement.select()")
        browser.type("2")
        tab_to(browser, "Start")
        browser.press(" ")

        circles = "document.querySelectorAll('.gptoss-live circle').length"
        browser.wait(f"{circles} > 0")
        seen = browser.evaluate(circles)
        browser.wait(f"{circles} > {seen}")
        tab_to(browser, "Stop")
        browser.press("Enter")
        browser.wait(f"({OUTPUTS}).includes('stopped; what had ended is kept')")
        assert browser.evaluate("[...document.querySelectorAll('button')].every(b => b.textContent.trim() !== 'Stop')")

        runs = [Run.load(path) for path in sorted((results / "runs").iterdir(), reverse=True)]
        [stopped] = [run for run in runs if run.manifest["status"] == "incomplete"]
        assert stopped.summary["completed"] > 0
        tab_to(browser, "Read again")
        browser.press("Enter")
        browser.wait(f"document.querySelector('.gptoss-table')?.innerText.includes('{stopped.run_id}')")
        for run in runs:
            tab_to(browser, run.run_id)
            browser.press(" ")
        browser.wait(f"({OUTPUTS}).includes('95 % intervals') && ({OUTPUTS}).includes('its bytes')")
        browser.screenshot(paths.BUILD / "explore.png")
