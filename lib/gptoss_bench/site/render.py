"""Render the pages of the site: a template and a view record enter, HTML that loads nothing from a server leaves."""

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cache

from bs4 import BeautifulSoup
from bs4.element import NavigableString, Tag
from jinja2 import Environment, FileSystemLoader, StrictUndefined, pass_context
from jinja2.runtime import Context
from markupsafe import Markup

from gptoss_bench import paths
from gptoss_bench.claims import Source
from gptoss_client import RunFailed

LOADING_TAGS = {
    *("script", "iframe", "frame", "frameset", "object", "embed", "applet", "base", "audio", "video", "link", "meta"),
    *("form", "plaintext", "xmp", "noscript", "template"),
}
ADDRESS = re.compile(r"\s*(https?:)?//", re.IGNORECASE)
NOTEBOOK = re.compile(r"^[\w./-]+\.ipynb$")  # of the repository: a site has only the pages of its runs
LOOPBACK = re.compile(r"https?://(127\.0\.0\.1|localhost)\b")
STRONG_ADDRESS = re.compile(r"(?<![<(\w])(https?://[^\s*<>]+?)(?=\.?\*\*)")  # would take the stars that end it
LONG_NAME = re.compile(r"[\w:/.]{20,}")  # such as vllm:time_to_first_token_seconds or a path
NAME_JOINT = re.compile(r"(?<=\w[:_/])(?=\w)")  # where it may break
LOADING_STYLE = re.compile(r"@import|url\(", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Frame:
    """What surrounds a page: its file name, its title, the (address, text) of the links above it, and the write-up."""

    name: str
    title: str
    links: Sequence[tuple[str, str]] = ()
    source: Source | None = None


def render(template: str, view: object, frame: Frame, targets: Mapping[str, str] | None = None) -> str:
    """Return the page of a template of site/templates; each word of `targets` in its text becomes a link.

    Raises RunFailed if the page would run a script or load something from a server.
    """
    return _environment().get_template(template).render(view=view, frame=frame, targets=targets or {})


def render_markdown(template: str, view: object, **more: str) -> str:
    """Return the Markdown of a template of site/templates, which takes a view record and `more` texts."""
    return _environment().get_template(template).render(view=view, **more)


@cache
def _environment() -> Environment:
    made = Environment(
        loader=FileSystemLoader(paths.SITE_TEMPLATES),
        autoescape=lambda name: name is None or not name.endswith(".md.j2"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    made.filters |= {
        "linked": _linked,
        "fragment": _fragment,
        "markdown": markdown_html,
        "escaped": escape_markdown,
        "fenced": fenced,
    }
    return made


@pass_context
def _linked(context: Context, text: str) -> Markup:
    return link_words(text, context["targets"])


@pass_context
def _fragment(context: Context, html: str) -> Markup:
    return html_fragment(html, context["targets"], context["frame"].name)


def markdown_html(text: str) -> str:
    """Return Markdown as HTML; HTML in it is kept."""
    from nbconvert.filters import markdown2html  # takes a second to import

    text = STRONG_ADDRESS.sub(r"<\1>", str(text))
    return str(markdown2html(text))  # jinja2 passes a block as Markup, which escapes what is added to it


def escape_markdown(text: str) -> str:
    """Return text as one line of Markdown that shows it as it is, also in a cell of a table."""
    line = " ".join(text.split()).replace("&", "&amp;").replace("<", "&lt;")
    return re.sub(r"[\\`*\[\]|~$]|(?<![^\W_])_|_(?![^\W_])", r"\\\g<0>", line)


def fenced(text: str) -> str:
    """Return text as a block of Markdown that shows it as it is."""
    fence = "`" * max(3, 1 + max((len(run) for run in re.findall("`+", text)), default=0))
    return f"{fence}text\n{text}\n{fence}"


def link_words(text: str, targets: Mapping[str, str]) -> Markup:
    """Return plain text as HTML, with each whole word of `targets` as a link to its address."""
    link = Markup('<a href="{}">{}</a>')
    return Markup("").join(
        link.format(targets[piece], piece) if at % 2 else piece for at, piece in enumerate(_split_words(text, targets))
    )


def _split_words(text: str, targets: Mapping[str, str]) -> list[str]:
    """Return the text in pieces; those at odd places are the words of `targets`."""
    if not targets:
        return [text]
    return _whole_words(tuple(targets)).split(text)


@cache
def _whole_words(words: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile(rf"(?<![\w-])({'|'.join(map(re.escape, words))})(?![\w-])")


def html_fragment(html: str, targets: Mapping[str, str], page: str) -> Markup:
    """Return HTML of a notebook for `page`: words of `targets` are links, and a wide table scrolls in its own box.

    No word of a summary becomes a link: a click there opens its details.
    Links to the measured machine, which no reader can open, become text. A link to another notebook leads to its page,
    or becomes text without one. A long name in a cell of a table may break. Raises RunFailed if the HTML would run a
    script or load something from a server.
    """
    soup = BeautifulSoup(html, "html.parser")
    for tag in soup.find_all(True):
        if _loads(tag):
            raise RunFailed(f"{page} would not open without a network: it contains {str(tag)[:80]!r}")
    for link in soup.find_all("a", href=LOOPBACK):
        link.unwrap()
    for link in soup.find_all("a", href=NOTEBOOK):
        stem = str(link["href"]).rpartition("/")[2].removesuffix(".ipynb")
        if (name := f"{stem.replace('_', '-')}.html") in targets.values():
            link["href"] = name
        else:
            link.unwrap()
    for table in soup.find_all("table"):
        table.wrap(soup.new_tag("div", attrs={"class": "wide", "tabindex": "0"}))
    for text in soup.find_all(string=True):
        # Style sheets and comments are subclasses of NavigableString.
        if type(text) is NavigableString and not text.find_parent(["a", "summary"]):
            pieces = _split_words(text, targets)
            text.replace_with(
                *(
                    soup.new_tag("a", href=targets[piece], string=piece) if at % 2 else NavigableString(piece)
                    for at, piece in enumerate(pieces)
                )
            )
    for text in soup.find_all(string=LONG_NAME):
        if text.find_parent("td") and not text.find_parent("a"):
            parts = NAME_JOINT.split(text)
            text.replace_with(*[each for part in parts for each in (NavigableString(part), soup.new_tag("wbr"))][:-1])
    return Markup(soup)


def _loads(tag: Tag) -> bool:
    """Return whether an element runs a script or loads something; a link that a reader may follow does not."""
    if tag.name in LOADING_TAGS or (tag.name == "style" and LOADING_STYLE.search(tag.get_text())):
        return True
    for name, value in tag.attrs.items():
        address = str(value)
        follows = tag.name == "a" and name == "href"
        if name.startswith("on") or address.lstrip().lower().startswith("javascript:"):
            return True
        if name == "style" and LOADING_STYLE.search(address):
            return True
        if name in ("src", "href", "xlink:href", "poster", "background") and ADDRESS.match(address) and not follows:
            return True
        if name == "srcset" and any(map(ADDRESS.match, address.split(","))):
            return True
    return False
