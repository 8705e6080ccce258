"""Show many cells as an HTML table: the number as text, its sign and size also as a colour behind it."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from html import escape

# Behind text of the page's own colour, so that it reads on a light and on a dark page alike; red, green, blue.
POSITIVE, NEGATIVE = (0, 114, 178), (213, 94, 0)
DEEPEST = 0.32  # opacity of the colour of a cell at the end of the scale
STEPS = 4  # of the colour
CELL = "text-align:center;vertical-align:top;white-space:nowrap"
NAME = "text-align:left;vertical-align:top"  # of a row


@dataclass(frozen=True, slots=True)
class HeatCell:
    """A cell: its text, a second line in small letters, and its place on the scale of colours, -1 to 1."""

    text: str
    note: str = ""
    shade: float = 0.0


@dataclass(frozen=True, slots=True)
class HeatTable:
    """A table of coloured cells: `groups` has the columns under each heading, `rows` the cells of all columns.

    `note` says below the title how a cell is read, `corner` what the names of the rows are.
    """

    title: str
    note: str
    corner: str
    groups: Mapping[str, Sequence[str]]
    rows: Mapping[str, Sequence[HeatCell]]

    def _repr_html_(self) -> str:
        """Return the table with a style in each cell: GitHub and notebooks take no style sheet."""
        head = "".join(
            f'<th scope="colgroup" colspan="{len(columns)}" style="{CELL}">{escape(group)}</th>'
            for group, columns in self.groups.items()
            if group
        )
        names = "".join(
            f'<th scope="col" style="{CELL}">{escape(name)}</th>' for names in self.groups.values() for name in names
        )
        body = "".join(
            f'<tr><th scope="row" style="{NAME}">{escape(name)}</th>{"".join(map(_cell, cells))}</tr>\n'
            for name, cells in self.rows.items()
        )
        groups = f"<tr><td></td>{head}</tr>\n" if head else ""
        # The texts stand above and not in a caption: a table that scrolls would take them along.
        return (
            f"<p><strong>{escape(self.title)}</strong><br>{escape(self.note)}</p>\n"
            f'<table class="heat" aria-label="{escape(self.title)}">\n'
            f'<thead>{groups}<tr><th scope="col" style="{NAME}">{escape(self.corner)}</th>{names}</tr></thead>\n'
            f"<tbody>\n{body}</tbody></table>"
        )

    def __repr__(self) -> str:
        """Return title and rows as text."""
        rows = [
            f"{name}: {', '.join(f'{cell.text} {cell.note}'.strip() for cell in cells)}"
            for name, cells in self.rows.items()
        ]
        columns = ", ".join(f"{group} {name}".strip() for group, names in self.groups.items() for name in names)
        return "\n".join([self.title, self.note, columns, *rows])


def _cell(cell: HeatCell) -> str:
    depth = round(STEPS * min(abs(cell.shade), 1)) / STEPS * DEEPEST
    colour = ",".join(map(str, POSITIVE if cell.shade > 0 else NEGATIVE))
    look = f"background:rgba({colour},{depth:g});{CELL}" if depth else CELL
    note = f"<br><small>{escape(cell.note)}</small>" if cell.note else ""
    return f'<td style="{look}">{escape(cell.text)}{note}</td>'
