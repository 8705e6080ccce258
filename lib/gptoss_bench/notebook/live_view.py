"""Render the live view of a load as HTML with SVG plots, fast enough for two frames a second. Pure."""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from html import escape

from gptoss_bench.runs import WorkerProgress
from gptoss_bench.session import workers_html

WIDTH, HEIGHT = 292, 116
TOP, BOTTOM, LEFT, RIGHT = 32, 98, 3, 288  # the area of the plot
BLUE, GREY, RED = "#1f8dd6", "#808080", "#e0314b"  # readable on white and on JupyterLab's dark theme

Series = Sequence[tuple[float, float]]


@dataclass(frozen=True, slots=True)
class LivePoint:
    """One request that has ended, `at_s` after the first was sent: TTFT, median ITL, and largest lag of the client."""

    at_s: float
    ttft_s: float | None
    itl_s: float | None
    lag_s: float | None


@dataclass(frozen=True, slots=True)
class Snapshot:
    """Counts of one poll, `at_s` after the first request was sent."""

    at_s: float
    failed: int
    gpu_memory_bytes: int | None


@dataclass(frozen=True, slots=True)
class LiveView:
    """The state of a load.

    `done` and `total` count the requests of all its parts; `total` is None if it ends by time. `beside` names the parts
    beside the load, such as "warm-up and sweep"; empty if there is none.
    `share` is its progress, 0 to 1, None if it is unknown.

    `in_flight` is the current number of a closed loop; `in_flight_over_time` is computed from the timestamps of ended
    requests. It ends, like `tok_s` (by whole seconds), where a request that is still running may count. `workers` is
    what each of several processes does that send the load; empty if one sends it, or the load has ended.
    """

    done: int
    total: int | None
    share: float | None
    failed: int
    in_flight: int
    request_s: float | None
    points: tuple[LivePoint, ...]
    tok_s: tuple[tuple[float, float], ...]
    in_flight_over_time: tuple[tuple[float, float], ...]
    snapshots: tuple[Snapshot, ...]
    workers: tuple[WorkerProgress, ...] = ()
    beside: str = ""


def render_live_view(live: LiveView, title: str, status: str = "", *, ended: bool = False) -> str:
    """Return HTML with the title, the progress, and a small plot of each quantity; no plots before a request ended.

    A view that has `ended` shows no current values.
    """
    memory = [(each.at_s, each.gpu_memory_bytes / 2**30) for each in live.snapshots if each.gpu_memory_bytes]
    shown: list[tuple[str, Series, bool]] = [
        ("TTFT, ms", _series_ms(live, lambda point: point.ttft_s), True),
        ("median ITL per request, ms", _series_ms(live, lambda point: point.itl_s), True),
        ("tokens/s", live.tok_s, False),
        ("client lag, largest per request, ms", _series_ms(live, lambda point: point.lag_s), True),
        ("requests in flight", live.in_flight_over_time, False),
        ("requests failed", [(each.at_s, each.failed) for each in live.snapshots], False),
        *([("GPU memory, GiB", memory, False)] if memory else []),
    ]
    last_s = max((at_s for _, series, _ in shown for at_s, _ in series), default=0.0) or 1.0
    some = live.points or live.done
    plots = [_plot(title, series, last_s, dots=dots, last=not ended) for title, series, dots in shown if some]
    return (
        f'<div class="gptoss-live" style="font-family:sans-serif;font-size:13px">'
        f"<div><b>{escape(title)}</b></div><div>{_with_code(status)}</div>{_bar(live)}"
        f"<div>{progress_text(live, ended=ended)}</div>"
        f"{workers_html(live.workers)}"
        f'<div style="display:flex;flex-wrap:wrap;gap:8px">{"".join(plots)}</div></div>'
    )


def alert_html(message: object) -> str:
    """Return a message that a screen reader announces at once."""
    return f'<span role="alert" style="color:{RED}">{escape(str(message))}</span>'


def progress_text(live: LiveView, *, ended: bool = False) -> str:
    """Return on one line the rate of all requests so far, those in flight and failed; empty before the first was sent.

    An ended view has the number of requests, which until then the status has, and no rate: that of the load is in its
    result block.
    """
    if not live.done and not live.in_flight:
        return "no request had ended" if ended else ""
    if ended:
        beside = f", {live.beside} included" if live.beside else ""
        parts = [f"{live.done}{f' of {live.total}' if live.total else ''} requests{beside}"]
    else:
        parts = [f"{live.request_s:.3g} requests/s"] if live.request_s else []
        parts.append(f"{live.in_flight} in flight")
    failures = f"{live.failed} failed"
    parts.append(f'<b style="color:{RED}">{failures}</b>' if live.failed else failures)
    return " · ".join(parts)


def _with_code(text: str) -> str:
    """Return text as HTML, with what is between backticks as code."""
    return re.sub("`([^`]+)`", r"<code>\1</code>", escape(text))


def _series_ms(live: LiveView, value: Callable[[LivePoint], float | None]) -> Series:
    return [(point.at_s, found * 1e3) for point in live.points if (found := value(point)) is not None]


def _bar(live: LiveView) -> str:
    if live.share is None:
        return ""
    return (
        f'<div style="background:#8884;height:6px;margin:4px 0"><div class="gptoss-bar" '
        f'style="background:{BLUE};height:6px;width:{100 * live.share:.1f}%"></div></div>'
    )


def _plot(title: str, series: Series, last_s: float, *, dots: bool, last: bool) -> str:
    """Return one plot of values over time. Both axes start at 0; the largest value is written at the axis."""
    text = _text(LEFT, 12, 12, title)
    marks = ""
    if series:
        top = max(value for _, value in series)
        largest = top or 1.0
        width, height = RIGHT - LEFT - 4, BOTTOM - TOP
        places = [(LEFT + 2 + width * at / last_s, BOTTOM - height * value / largest) for at, value in series]
        if dots:
            marks = "".join(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="1.8" fill="{BLUE}"/>' for x, y in places)
        else:
            line = " ".join(f"{x:.1f},{y:.1f}" for x, y in places)
            marks = f'<polyline points="{line}" fill="none" stroke="{BLUE}" stroke-width="1.6"/>'
        text += _text(LEFT, 26, 11, _number(top))
        text += _text(RIGHT, 26, 11, f"last {_number(series[-1][1])}", "end") if last else ""
        text += _text(LEFT, 111, 11, "0") + _text(RIGHT, 111, 11, f"{last_s:.1f} s", "end")
    frame = f'<path d="M{LEFT} {TOP}V{BOTTOM}H{RIGHT}" fill="none" stroke="{GREY}" stroke-width="0.8"/>'
    return f'<svg width="{WIDTH}" height="{HEIGHT}" role="img" aria-label="{escape(title)}">{frame}{marks}{text}</svg>'


def _number(value: float) -> str:
    return f"{value:,.0f}" if value >= 1000 else f"{value:.3g}"


def _text(x: int, y: int, size: int, text: str, anchor: str = "start") -> str:
    # currentColor is the colour of the surrounding text, which follows the theme.
    place = f'x="{x}" y="{y}" font-size="{size}" text-anchor="{anchor}"'
    return f'<text {place} fill="currentColor">{escape(text)}</text>'
