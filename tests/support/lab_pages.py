"""JupyterLab for tests: a server with settings of its own, and a notebook of it open in a browser's tab."""

import json
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractAsyncContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import nbformat
from tests.gptoss_bench.notebook.test_runner import prepare

from gptoss_bench import paths
from gptoss_client.trace import Endpoint
from serving import PATIENCE_S, held, wait_until

SETTINGS = {
    "apputils-extension/notification": {"fetchNews": "false", "checkForUpdates": False},
    "docmanager-extension/plugin": {"autosave": False},
}
# The label of the control that has the focus; a button is its own.
FOCUS = """() => { const on = document.activeElement;
  const label = on.type === 'checkbox' ? on.parentElement : on.closest('.jupyter-widgets')?.querySelector('label');
  return (on.tagName === 'BUTTON' ? on : label)?.textContent.trim() ?? ''; }"""
OUTPUTS = "() => [...document.querySelectorAll('.jp-OutputArea-output')].map(each => each.innerText).join('\\n')"
READY = "() => typeof jupyterapp !== 'undefined' && document.querySelector('.jp-Notebook .jp-Cell') !== null"


@dataclass(frozen=True, slots=True)
class Lab:
    """A JupyterLab that is up: its address, the folder of its notebooks, its process."""

    url: str
    root: Path
    pid: int

    def asked(self, path: str) -> Any:
        with urllib.request.urlopen(f"{self.url}/api/{path}", timeout=240) as answer:
            return json.load(answer)

    def kernel(self, name: str) -> dict[str, Any] | None:
        """The kernel of one notebook."""
        found = [each["kernel"] for each in self.asked("sessions") if each["path"] == f"{name}.ipynb"]
        return found[0] if len(found) == 1 else None

    def settled(self, name: str) -> bool:
        """Whether there is one idle kernel, and still so a while later: Lab may start two and end one of them."""
        first = self.kernel(name)
        if first is None or first["execution_state"] != "idle":
            return False
        time.sleep(1.5)
        later = self.kernel(name)
        return later is not None and (later["id"], later["execution_state"]) == (first["id"], "idle")

    def explore(self, name: str, *, cells: int | None = None, notebook: str = "explore", **parameters: object) -> None:
        """Put a copy of a notebook there under this name, with these parameters; only its first `cells` if given."""
        file = self.root / f"{name}.ipynb"
        given = {key: str(value) if isinstance(value, Path) else value for key, value in parameters.items()}
        prepare(paths.NOTEBOOKS / f"{notebook}.ipynb", file, given)
        book = nbformat.read(file, as_version=4)
        book.cells = book.cells[:cells]
        nbformat.write(book, file)


@contextmanager
def lab(folder: Path, *, as_users_open_it: bool = False) -> Iterator[Lab]:
    """JupyterLab with all its folders in this one; `gptoss-bench lab` opens it with its own settings and notebooks."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    for name, content in {} if as_users_open_it else SETTINGS.items():
        file = folder / "settings" / "@jupyterlab" / f"{name}.jupyterlab-settings"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(json.dumps(content))
    own = {f"JUPYTER_{name}_DIR": str(folder / name.lower()) for name in ("CONFIG", "DATA", "RUNTIME")}
    own |= {f"JUPYTERLAB_{name}_DIR": str(folder / name.lower()) for name in ("SETTINGS", "WORKSPACES")}
    root = folder / "root"
    root.mkdir()
    options = [f"--port={port}", "--port-retries=0", "--ip=127.0.0.1", "--no-browser"]
    options += ["--IdentityProvider.token=", "--expose-app-in-browser"]
    if as_users_open_it:
        command = ["gptoss_bench", "lab", f"--folder={root}", "--", *options]
    else:
        command = ["jupyterlab", "--allow-root", f"--notebook-dir={root}", *options]
    with (folder / "lab.log").open("wb") as log:
        server = subprocess.Popen(
            [sys.executable, "-m", *command], stdout=log, stderr=log, env=os.environ | own, cwd=folder
        )
    found = Lab(f"http://127.0.0.1:{port}", root, server.pid)
    try:
        wait_until(lambda: _answers(found), "JupyterLab answers")
        yield found
    finally:
        server.terminate()  # it ends its kernels
        server.wait(timeout=240)


def _answers(found: Lab) -> bool:
    try:
        found.asked("status")
    except OSError:
        return False
    return True


@contextmanager
def beside(server: AbstractAsyncContextManager[Endpoint]) -> Iterator[Endpoint]:
    """`held`, in a thread of its own: Playwright keeps a loop running in this one."""
    manager = held(server)
    with ThreadPoolExecutor(1) as thread:
        endpoint = thread.submit(manager.__enter__).result()
        try:
            yield endpoint
        finally:
            thread.submit(manager.__exit__, None, None, None).result()


class Tab:
    """One notebook in one tab. `page` is Playwright's."""

    def __init__(self, browser: Any, where: Lab, name: str, *, width: int = 1500, height: int = 2600) -> None:
        """Open it and wait until its kernel is idle."""
        self.where, self.name = where, name
        self.page = browser.new_page(viewport={"width": width, "height": height})
        self.page.set_default_timeout(PATIENCE_S * 1e3)
        # A workspace of its own, else Lab opens what the last tab had open.
        self.page.goto(f"{where.url}/lab/workspaces/{name}/tree/{name}.ipynb")
        self.page.wait_for_function(READY)
        wait_until(lambda: where.settled(name), "the kernel is idle")

    def command(self, name: str) -> None:
        """Have Lab do something, without waiting for it."""
        self.page.evaluate(f"() => void jupyterapp.commands.execute('{name}')")

    def wait_for_words(self, words: str) -> None:
        """Wait until an output contains this text."""
        self.page.wait_for_function(f"({OUTPUTS})().includes({json.dumps(words)})")

    def says(self, words: str) -> bool:
        return words in self.page.evaluate(OUTPUTS)

    def circles(self, more_than: int = 0) -> int:
        """Wait until the plots have more marks than that, and count them."""
        count = "document.querySelectorAll('.gptoss-live circle').length"
        self.page.wait_for_function(f"() => {count} > {more_than}")
        return int(self.page.evaluate(f"() => {count}"))

    def focus_first_control(self) -> None:
        self.page.locator(".jp-OutputArea-output select").first.focus()

    def tab_to(self, name: str) -> None:
        """Press Tab until the control of this name has the focus."""
        for _ in range(40):
            if self.page.evaluate(FOCUS) == name:
                return
            self.page.keyboard.press("Tab")
        self.picture()
        raise AssertionError(f"no way to {name} with the Tab key; the focus is on {self.page.evaluate(FOCUS)!r}")

    def enter(self, name: str, text: str) -> None:
        """Go to a field with the Tab key and put this in place of what it holds."""
        self.tab_to(name)
        self.page.keyboard.press("ControlOrMeta+a")
        self.page.keyboard.type(text)

    def press(self, name: str, key: str = "Enter") -> None:
        """Go to a button with the Tab key and press it."""
        self.tab_to(name)
        self.page.keyboard.press(key)

    def picture(self, name: str = "explore") -> None:
        """Keep what is to be seen now, as build/NAME.png."""
        paths.BUILD.mkdir(exist_ok=True)
        self.page.screenshot(path=paths.BUILD / f"{name}.png")
