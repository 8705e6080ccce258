"""The live view of a load as a piece of HTML with hand-made SVG, light enough to be drawn twice a second. Pure."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

WIDTH, HEIGHT = 250, 74
BLUE, GREY, RED = "#0173b2", "#888888", "#b00020"

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class Point:
    """One request that has ended, `at_s` after the first was sent: its TTFT, its median ITL, its latest read."""

    at_s: float
    ttft_s: float | None
    itl_s: float | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Look:
    """What was counted at one look, `at_s` after the first request was sent."""

    at_s: float
    in_flight: int
    failed: int
    gpu_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class Live:
    """A load so far. `total` None: it goes by time. `tok_s` is by whole seconds that are surely complete."""

    done: int
    total: int | None
    failed: int
    in_flight: int
    waited_s: float
    request_s: float | None
    left_s: float | None
    points: tuple[Point, ...]
    tok_s: tuple[tuple[float, float], ...]
    looks: tuple[Look, ...]


def live_html(live: Live, title: str, words: str = "") -> str:
    """Title, progress with rate and time left, and a small plot of each quantity."""
    plots = [
        _plot("TTFT, ms", _of(live, lambda point: point.ttft_s), dots=True),
        _plot("median ITL of each, ms", _of(live, lambda point: point.itl_s), dots=True),
        _plot("tokens/s", live.tok_s, dots=False),
        _plot("client's latest read of each, ms", _of(live, lambda point: point.lag_s), dots=True),
        _plot("requests in flight", [(look.at_s, look.in_flight) for look in live.looks], dots=False),
        _plot("requests failed", [(look.at_s, look.failed) for look in live.looks], dots=False),
    ]
    memory = [(look.at_s, look.gpu_memory_bytes / 2**30) for look in live.looks if look.gpu_memory_bytes]
    plots += [_plot("GPU memory, GiB", memory, dots=False)] if memory else []
    return (
        f'<div class="gptoss-live" style="font-family:sans-serif;font-size:13px">'
        f"<div><b>{escape(title)}</b> {escape(words)}</div>{_bar(live)}<div>{progress_words(live)}</div>"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(plots)}</div></div>'
    )


def progress_words(live: Live) -> str:
    """The counts, rate and time left on one line."""
    if not live.done and not live.in_flight:
        return f"waiting for the server, {live.waited_s:.0f} s"
    parts = [f"{live.done} of {live.total} requests" if live.total else f"{live.done} requests"]
    if live.request_s:
        parts.append(f"{live.request_s:.3g} a second")
    if live.left_s is not None:
        parts.append(f"about {live.left_s:.0f} s left")
    failures = f"{live.failed} failed"
    parts += [f"{live.in_flight} in flight", f'<b style="color:{RED}">{failures}</b>' if live.failed else failures]
    return " · ".join(parts)


def _of(live: Live, value: Callable[[Point], float | None]) -> Series:
    return [(point.at_s, found * 1e3) for point in live.points if (found := value(point)) is not None]


def _bar(live: Live) -> str:
    share = live.done / live.total if live.total else 0.0
    return (
        f'<div style="background:#8884;height:6px;margin:4px 0"><div class="gptoss-bar" '
        f'style="background:{BLUE};height:6px;width:{100 * share:.1f}%"></div></div>'
    )


def _plot(title: str, series: Series, *, dots: bool) -> str:
    """Values over time from 0 to the largest, both named at the edges; a title alone where there is nothing yet."""
    text = f'<text x="2" y="10" font-size="10" fill="currentColor">{escape(title)}</text>'
    marks = ""
    if series:
        last_s, most = max(at for at, _ in series) or 1.0, max(value for _, value in series) or 1.0
        places = [(2 + 246 * at / last_s, 70 - 52 * value / most) for at, value in series]
        if dots:
            marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.6" fill="{BLUE}"/>' for x, y in places)
        else:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            marks = f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.5"/>'
        text += _end(10, f"to {most:.3g}, last {series[-1][1]:.3g}") + _end(69, f"{last_s:.0f} s")
    frame = f'<path d="M2 14V70H248" fill="none" stroke="{GREY}" stroke-width="0.7"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">{frame}{marks}{text}</svg>'


def _end(y: int, text: str) -> str:
    return f'<text x="248" y="{y}" font-size="9" text-anchor="end" fill="{GREY}">{text}</text>'
