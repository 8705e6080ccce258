"""Find the figures in any text: lines of a printed block, a Markdown table or prose enter, named figures leave.

A figure is named by its label, its unit and its statistic. What has no name or no unit that this module knows is left
out, never guessed.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from gptoss_bench.stats import PrintedFigure

NUMBER = r"[-+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?(?:[eE][-+]?\d+)?"
_SPREAD = rf"(?:\s*(?:±|\+/-)\s*{NUMBER})?"
_UNIT = r"(?P<unit>[A-Za-zµμ]+(?:/[A-Za-z]+)?)?"
_PER_SECOND = r"tok(?:en)?s?\s*(?:/|per)\s*s(?:ec(?:ond)?)?\b"
_VALUE = re.compile(rf"(?<![\w.,-])(?P<value>{NUMBER})(?![\d.,]*\d){_SPREAD}\s*{_UNIT}")
_PAIR = re.compile(rf"(?P<label>[A-Za-z][^:=|;]{{0,60}}?)\s*(?:[:=]\s*)+[~≈]?\s*(?P<value>{NUMBER}){_SPREAD}\s*{_UNIT}")
_STATISTIC_PAIR = re.compile(
    rf"\b(?P<label>p50|p90|p95|p99|mean|avg|median|min|max)\s*[=:]\s*(?P<value>{NUMBER})(?=\s*{_UNIT})",
    re.IGNORECASE,
)
_COUNTED = re.compile(rf"(?P<value>{NUMBER})\s+requests\b(?!\s*(?:/|per|in |at |a ))", re.IGNORECASE)
_RATE_IN_PROSE = re.compile(rf"(?<![\w.,-])(?P<value>{NUMBER})\s*(?:{_PER_SECOND}|tps\b)", re.IGNORECASE)
_RULE = re.compile(r"[\s|:+=-]+")
_TAGS = re.compile(r"<[^>]*>|\*\*|`")
_BOX_RULE = re.compile(r"[\s┏┓┡┩┗┛┌┐└┘├┤┬┴┼╞╡╪┠┨┳┻╇╋━─═]+")
_ANSI = re.compile(r"\x1b\[[0-9;?]*[A-Za-z]")

_STATISTICS = {
    "p50": re.compile(r"\bp50\b|\bmedian\b|\b50(?:th)?\s*%|_p50|median_", re.I),
    "p90": re.compile(r"\bp90\b|_p90|p90_", re.I),
    "p95": re.compile(r"\bp95\b|_p95|p95_", re.I),
    "p99": re.compile(r"\bp99\b|_p99|p99_", re.I),
    "mean": re.compile(r"\bmean\b|\bavg\b|\baverage\b|mean_|_mean", re.I),
    "min": re.compile(r"\bmin(?:imum)?\b", re.I),
    "max": re.compile(r"\bmax(?:imum)?\b", re.I),
}
# The first that fits a label names it. "": a label that looks like another and names none of the figures here.
_PATTERNS = (
    ("", r"\bstd\b|stddev|goodput|accept|\bpeak\b|concurrent requests|improve|speed-?up|normali|\bp2?5\b|\buser\b"),
    ("ttft_s", r"ttft|time to first|first[- ]token"),
    ("tpot_s", r"tpot|time per output"),
    ("itl_s", r"\bitl\b|itl_|inter[- ]?token|inter[- ]?chunk"),
    ("total_tok_s", r"total[ _](?:token[ _])?(?:throughput|tps|tok)"),
    ("", r"(?:input|prompt|prefill)[^,]*(?:throughput|tok\w*\s*/|t/s|rate|tps)|\bpp\d+"),
    ("request_rate", r"(?:request|issue)[ _]rate|\brps\b.*configured"),
    ("request_s", r"request[ _]throughput|req(?:uest)?s?\s*(?:/|per)\s*s|\brps\b|\bqps\b"),
    ("output_tok_s_total", r"(?:output|generat\w+|decode)[ _]?(?:token)?[ _]?(?:throughput|rate|tps|speed)"),
    ("output_tok_s_total", rf"{_PER_SECOND}|\btps\b|\bt/s\b|eval rate|\btg\d+"),
    ("wall_s", r"duration|wall|elapsed|total (?:time|latency)|time taken"),
    ("done_s", r"e2e|end[- ]to[- ]end|latency"),
    ("failed", r"failed[ _]?requests|^failed$|^errors?$"),
    ("completed", r"succe\w*[ _]requests|completed"),
    ("prompt_tokens", r"total[ _](?:input|prompt)[ _]tokens"),
    ("", r"retokeni|cached"),
    ("completion_tokens.sum", r"total[ _](?:generated|output|completion)[ _]tokens"),
    ("completion_tokens.mean", r"(?:mean|average|avg)[ _](?:output|generated|completion)[ _](?:tokens|length)"),
    ("max_tokens", r"max[ _](?:new[ _]|output[ _]|completion[ _])?tokens"),
    ("concurrency_planned", r"concurren|parallel|\bstreams\b|\busers\b"),
    ("requests", r"num[ _-]?prompts|(?:number of|total|num)[ _](?:requests|prompts)|^requests$"),
)
_QUANTITIES = tuple((name, re.compile(pattern, re.IGNORECASE)) for name, pattern in _PATTERNS)
_TIMES = ("ttft_s", "tpot_s", "itl_s", "done_s", "wall_s")
_SECONDS = {"s": 1.0, "sec": 1.0, "secs": 1.0, "seconds": 1.0, "ms": 1e-3, "us": 1e-6, "µs": 1e-6, "μs": 1e-6}
_SECONDS |= {"ns": 1e-9, "msec": 1e-3, "milliseconds": 1e-3, "m": 60.0, "min": 60.0, "minutes": 60.0}
_UNIT_IN_LABEL = re.compile(r"[(\[_ ,](ms|s|sec|seconds|us|µs|μs|ns|milliseconds)[)\]]?$", re.I)
_COUNTS = ("failed", "completed", "requests", "prompt_tokens", "completion_tokens.sum", "max_tokens")


@dataclass(frozen=True, slots=True)
class FoundFigure:
    """A figure of a text: its name in `stats.find_contradictions`, its value in seconds or 1/s, its line, its words."""

    name: str
    figure: PrintedFigure
    line: int
    printed: str


@dataclass(slots=True)
class FigureGroup:
    """Figures that a text shows as one result; `title` is the text of its row or of the heading above it."""

    title: str
    figures: dict[str, FoundFigure] = field(default_factory=dict)

    def add(self, found: FoundFigure | None) -> bool:
        """Add a figure; return whether it fits: False if the group has another value of this name."""
        if found is None:
            return True
        known = self.figures.setdefault(found.name, found)
        return known.figure.value == found.figure.value


def find_figures(text: str) -> list[FigureGroup]:
    """Return the results in a text, each with its figures. A text without a figure has none."""
    lines = [_without_box(line) for line in _ANSI.sub("", text).splitlines()]
    groups: list[FigureGroup] = []
    block, heading, at = FigureGroup(""), "", 0
    while at < len(lines):
        line = _quoted(lines[at])
        if line.count("|") >= 2 and not _is_rule(line) and at + 1 < len(lines) and _is_rule(_quoted(lines[at + 1])):
            end = at + 2
            while end < len(lines) and ("|" in lines[end] or _is_rule(_quoted(lines[end]))):
                end += 1
            rows = [(number, _quoted(lines[number])) for number in range(at, end)]
            groups += _table([(number + 1, _cells(line)) for number, line in rows if not _is_rule(line)], heading)
            at = end
            continue
        if new := _heading(line):
            heading = new
            groups.append(block)
            block = FigureGroup(heading)
        for found in _of_line(line, at + 1):
            if not block.add(found):
                groups.append(block)
                block = FigureGroup(heading)
                block.add(found)
        at += 1
    return [group for group in [*groups, block] if group.figures]


def _without_box(line: str) -> str:
    """Return a line of a table that is drawn with box characters as one of Markdown."""
    if line.strip() and _BOX_RULE.fullmatch(line):
        return "|---|"
    return line.replace("│", "|").replace("┃", "|")


def _quoted(line: str) -> str:
    return re.sub(r"^[>\s]+", "", line).rstrip()


def _heading(line: str) -> str:
    if line.startswith("#") or re.match(r"^={3,}.*[A-Za-z].*={3,}$", line) or line.startswith("???"):
        return line.strip("#=?! \t") or " "
    return " " if line.startswith("```") else ""


def _is_rule(line: str) -> bool:
    return ("-" in line or "=" in line) and _RULE.fullmatch(line) is not None


def _cells(line: str) -> list[str]:
    return [cell.strip() for cell in line.strip().strip("|").split("|")]


def _table(rows: list[tuple[int, list[str]]], heading: str) -> Iterator[FigureGroup]:
    """Yield a group for each row, for each column if the first column names figures, or for each cell with labels."""
    (_, header), *body = rows
    labelled = [
        (line, row, column) for line, row in body for column in range(len(row)) if _PAIR.search(_plain(row[column]))
    ]
    named = [_name(_plain(cell)) for cell in header]
    down = [_name(_plain(row[0])) for _, row in body if row]
    if any(down) and not any(named) and sum(_statistic(cell) is not None for cell in header) >= 2:
        yield _of_statistics(header, body, heading)
    elif labelled and not any(named):
        for line, row, column in labelled:
            yield _of_labels(header, row, column, line)
    elif any(named[1:]) and sum(map(bool, named[1:])) >= sum(map(bool, down)):
        for line, row in body:
            title = next((_plain(cell) for cell, name in zip(row, named, strict=False) if name is None), heading)
            group = FigureGroup(title)
            for cell, label, name in zip(row, header, named, strict=False):
                if name is not None:
                    group.add(_of_cell(_plain(label), _plain(cell), line))
            yield group
    elif any(down):
        for column in range(1, len(header)):
            group = FigureGroup(_plain(header[column]) or heading)
            for line, row in body:
                if column < len(row):
                    group.add(_of_cell(_plain(row[0]), _plain(row[column]), line))
            yield group


def _of_labels(header: list[str], row: list[str], column: int, line: int) -> FigureGroup:
    """Return the figures of a cell in which each one has its label."""
    title = " ".join(filter(None, (_plain(row[0]), _plain(header[column]) if column < len(header) else "")))
    group = FigureGroup(title)
    for part in re.split(r"<br\s*/?>", row[column]):
        for found in _of_line(_plain(part), line):
            group.add(found)
    return group


def _of_statistics(header: list[str], body: list[tuple[int, list[str]]], heading: str) -> FigureGroup:
    """Return the figures of a table whose rows name quantities and whose columns name statistics."""
    group = FigureGroup(heading)
    for line, row in body:
        for column, cell in list(zip(header, row, strict=False))[1:]:
            if statistic := _statistic(column):
                group.add(_of_cell(f"{statistic} {_plain(row[0])}", _plain(cell), line))
    return group


def _statistic(label: str) -> str | None:
    """Return the statistic that a label names."""
    return next((at for at, pattern in _STATISTICS.items() if pattern.search(label)), None)


def _plain(cell: str) -> str:
    return _TAGS.sub(" ", cell).strip()


def _of_cell(label: str, cell: str, line: int) -> FoundFigure | None:
    match = _VALUE.search(cell)
    return None if match is None else _figure(label, match["value"], match["unit"], line)


def _of_line(line: str, number: int) -> Iterator[FoundFigure]:
    shared = [*_STATISTIC_PAIR.finditer(line)]
    label = line[: shared[0].start()] if shared else ""
    if shared and _name(label) is not None:
        for match in shared:
            if found := _figure(f"{match['label']} {label}", match["value"], match["unit"], number):
                yield found
        return
    pairs = [*_PAIR.finditer(_plain(line))]
    for match in pairs:
        if found := _figure(match["label"], match["value"], match["unit"], number):
            yield found
    if counted := _COUNTED.search(line):
        yield _made("requests", counted["value"], 1.0, number, counted[0])
    if not pairs and (rate := _RATE_IN_PROSE.search(_plain(line))) and "|" not in line:
        yield _made("output_tok_s_total", rate["value"], 1.0, number, rate[0])


def _name(label: str) -> str | None:
    """Return the name of a figure by its label, with its statistic for a time; None if it is none that is known."""
    quantity = next((name for name, pattern in _QUANTITIES if pattern.search(label)), "") or None
    if quantity is None or quantity not in _TIMES or quantity == "wall_s":
        return quantity
    statistic = _statistic(label)
    return f"{quantity}.{statistic}" if statistic else quantity


def _figure(label: str, value: str, unit: str | None, line: int) -> FoundFigure | None:
    label = label.strip(" -*#>\t\"'")
    name = _name(f"{label} {unit}" if unit and "/" in unit else label)
    if name is None or (name == "concurrency_planned" and "." in value):
        return None  # a broken number of requests in flight is a mean, and no plan
    scale = 1.0
    if name.partition(".")[0] in _TIMES:
        in_label = _UNIT_IN_LABEL.search(label)
        unit = in_label[1] if in_label else unit
        if unit is None or unit.lower() not in _SECONDS:
            return None  # a time without a unit says nothing
        scale = _SECONDS[unit.lower()]
    return _made(name, value, scale, line, f"{label}: {value}{f' {unit}' if unit else ''}")


def _made(name: str, value: str, scale: float, line: int, printed: str) -> FoundFigure:
    digits = value.replace(",", "")
    mantissa, _, exponent = digits.lower().partition("e")
    decimals = len(mantissa.partition(".")[2]) - int(exponent or 0)
    step = 0.0 if name in (*_COUNTS, "concurrency_planned") else 10.0**-decimals * scale
    return FoundFigure(name, PrintedFigure(float(digits) * scale, step), line, " ".join(printed.split()))
