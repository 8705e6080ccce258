"""What the tests of the site look at: the elements of a page, and what a real browser makes of it."""

import json
import re
import shutil
import subprocess
from dataclasses import dataclass, field
from html import unescape
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pytest

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
needs_browser = pytest.mark.skipif(CHROMIUM is None, reason="there is no chromium on PATH: apt install chromium")
QUIET = ("background-networking", "component-update", "sync", "default-apps", "extensions", "gpu", "domain-reliability")


@dataclass
class Page(HTMLParser):
    """The ids, links, pictures and tags of one page."""

    file: Path
    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)
    pictures: list[dict[str, str | None]] = field(default_factory=list)
    tags: list[str] = field(default_factory=list)
    words: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        super().__init__()
        self.text = self.file.read_text(encoding="utf-8")
        self.feed(self.text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        found = dict(attrs)
        self.tags.append(tag)
        if found.get("id"):
            self.ids.append(str(found["id"]))
        if tag == "a" and "href" in found:
            self.links.append(str(found["href"]))
        if tag == "img":
            self.pictures.append(found)

    def handle_data(self, data: str) -> None:
        self.words.append(data)

    __hash__ = object.__hash__


def browse(page: Path, home: Path, *options: str) -> subprocess.CompletedProcess[str]:
    """Open one page in a headless Chromium with a profile of its own; the DOM as it then is comes back as stdout."""
    command = [str(CHROMIUM), "--headless", "--no-sandbox", "--no-first-run", "--disable-dev-shm-usage"]
    command += [f"--disable-{name}" for name in QUIET]
    command += [f"--user-data-dir={home}", "--enable-logging=stderr", *options, page.as_uri()]
    return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)


def console(done: subprocess.CompletedProcess[str]) -> list[str]:
    """The lines of a page's console."""
    return [line for line in done.stderr.splitlines() if ":CONSOLE" in line]


# Loads each page into a frame of each width and looks at all of its text. The pages themselves run no script.
LOOK = """<!doctype html><meta charset="utf-8"><style>iframe { border: 0 }</style><body><script>
const pages = PAGES, widths = WIDTHS, found = [];
const channels = colour => (colour.match(/[\\d.]+/g) || []).map(Number);
const light = c => c.slice(0, 3).map(v => v / 255).map(v => v <= .03928 ? v / 12.92 : ((v + .055) / 1.055) ** 2.4)
  .reduce((sum, v, i) => sum + v * [.2126, .7152, .0722][i], 0);
const contrast = (a, b) => (Math.max(a, b) + .05) / (Math.min(a, b) + .05);
function ground(element) {  // what is behind an element: its own colour over that of what it lies in
  if (!element) return [255, 255, 255];
  const [r, g, b, a = 1] = channels(getComputedStyle(element).backgroundColor);
  if (a === 1) return [r, g, b];
  const below = ground(element.parentElement);
  return [r, g, b].map((v, i) => a * v + (1 - a) * below[i]);
}
function look(frame, page, width) {
  const doc = frame.contentDocument, root = doc.documentElement;
  let smallest = 99, faintest = 99, faint = "", letters = 0;
  const walk = doc.createTreeWalker(doc.body, NodeFilter.SHOW_TEXT);
  for (let node = walk.nextNode(); node; node = walk.nextNode()) {
    const parent = node.parentElement, style = frame.contentWindow.getComputedStyle(parent);
    if (!node.data.trim() || parent.closest("style, math")) continue;
    if (!parent.checkVisibility({visibilityProperty: true})) continue;
    letters += node.data.trim().length;
    smallest = Math.min(smallest, parseFloat(style.fontSize));
    const now = contrast(light(channels(style.color)), light(ground(parent)));
    if (now < faintest) { faintest = now; faint = node.data.trim().slice(0, 40); }
  }
  const broken = [...doc.images].filter(i => !i.complete || !i.naturalWidth).map(i => i.src);
  const wide = root.scrollWidth - root.clientWidth;
  found.push({page, width, letters, smallest, faintest, faint, broken, wide, ground: light(ground(doc.body))});
}
for (const width of widths) for (const page of pages)
  document.write(`<iframe src="${page}" data-width="${width}" style="width: ${width}px; height: 900px"></iframe>`);
// The browser writes the DOM down when all frames have loaded and this has run.
window.onload = () => {
  for (const frame of document.querySelectorAll("iframe")) look(frame, frame.src, Number(frame.dataset.width));
  document.body.innerHTML = "<pre id=found></pre>";
  document.getElementById("found").textContent = JSON.stringify(found);
};
</script>"""


def look_at(pages: list[Path], widths: list[int], home: Path, *options: str) -> tuple[list[dict[str, Any]], list[str]]:
    """What a reader would see of each page at each width (LOOK; sizes in px, contrast as WCAG counts it), and the
    lines of the console."""
    harness = home.parent / "look.html"
    harness.write_text(
        LOOK.replace("PAGES", json.dumps([page.as_uri() for page in pages])).replace("WIDTHS", json.dumps(widths)),
        encoding="utf-8",
    )
    allowed = ("--allow-file-access-from-files", "--window-size=1500,1000")
    done = browse(harness, home, "--dump-dom", *allowed, *options)
    found = re.search(r'<pre id="found">(.*?)</pre>', done.stdout, re.DOTALL)
    assert found, done.stdout[:300] + done.stderr[-1500:]
    return json.loads(unescape(found[1])), console(done)
