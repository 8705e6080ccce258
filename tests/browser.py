"""A headless chromium for tests, told what to do over its DevTools protocol: go there, evaluate, press keys, look."""

import base64
import json
import shutil
import subprocess
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from serving import wait_until

KEYS = {"Tab": 9, "Enter": 13, " ": 32}


def chromium() -> str | None:
    return shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")


class Page:
    """One page of a browser."""

    def __init__(self, url: str) -> None:
        import websocket  # what jupyter-server itself depends on

        self._socket = websocket.create_connection(url, suppress_origin=True, timeout=60)
        self._sent = 0

    def call(self, method: str, **params: Any) -> dict[str, Any]:
        self._sent += 1
        self._socket.send(json.dumps({"id": self._sent, "method": method, "params": params}))
        while True:
            answer = json.loads(self._socket.recv())
            if answer.get("id") == self._sent:
                assert "error" not in answer, answer["error"]
                return answer["result"]

    def evaluate(self, source: str) -> Any:
        found = self.call("Runtime.evaluate", expression=source, returnByValue=True)
        assert "exceptionDetails" not in found, found["exceptionDetails"]
        return found["result"].get("value")

    def wait(self, source: str) -> None:
        wait_until(lambda: bool(self.evaluate(source)), source)

    def press(self, key: str, modifiers: int = 0) -> None:
        text = {"Enter": "\r", " ": " "}.get(key)
        about = {"key": key, "code": {" ": "Space"}.get(key, key), "windowsVirtualKeyCode": KEYS[key]}
        about["modifiers"] = modifiers
        self.call("Input.dispatchKeyEvent", type="keyDown", **about, **({"text": text} if text else {}))
        self.call("Input.dispatchKeyEvent", type="keyUp", **about)

    def type(self, text: str) -> None:
        self.call("Input.insertText", text=text)

    def screenshot(self, file: Path) -> None:
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(base64.b64decode(self.call("Page.captureScreenshot", format="png")["data"]))


@contextmanager
def page(folder: Path) -> Iterator[Page]:
    """A page of a browser of its own, whose profile is `folder`."""
    options = ["--headless=new", "--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage", "--no-first-run"]
    options += ["--remote-debugging-port=0", f"--user-data-dir={folder}", "--window-size=1500,2600", "about:blank"]
    process = subprocess.Popen([chromium(), *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        told = folder / "DevToolsActivePort"
        wait_until(lambda: told.exists() and told.read_text().count("\n") >= 1, "the browser listens")
        port = told.read_text().splitlines()[0]
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/json", timeout=60) as answer:
            targets = json.load(answer)
        yield Page(next(target["webSocketDebuggerUrl"] for target in targets if target["type"] == "page"))
    finally:
        process.terminate()
        process.wait(timeout=60)
